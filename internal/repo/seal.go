package repo

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/zeebo/blake3"
)

// The end of a sealed document, around the checksum of all that is before it.
const (
	beforeSum = "  \"blake3\": \""
	afterSum  = "\"\n}\n"
)

// hashOf is the BLAKE3 of some bytes as b3sum prints it.
func hashOf(b []byte) string {
	sum := blake3.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// seal writes a document whose last field is the BLAKE3 of all lines before its own. It is
// for people, too: "head -n -2 FILE | b3sum" prints the checksum.
func seal(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	b = append(bytes.TrimSuffix(b, []byte("\n}")), ",\n"...)
	return append(b, beforeSum+hashOf(b)+afterSum...), nil
}

// checkSeal reports whether a document has the checksum of seal. The error is ErrDamaged if
// that is not the checksum of this document.
func checkSeal(b []byte) (sealed bool, err error) {
	end := bytes.LastIndex(b, []byte(beforeSum))
	if end < 0 {
		return false, nil
	}
	if string(b[end:]) != beforeSum+hashOf(b[:end])+afterSum {
		return false, fmt.Errorf("its checksum does not fit: %w", ErrDamaged)
	}
	return true, nil
}

// checkKeys returns an error if an object of a document has a name twice, or one that is
// none of ours. Package json would take the last of several, and does not mind case.
func checkKeys(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	var names []map[string]bool // of the objects around; nil for a list
	name := false               // whether the next token is one, in an object
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case json.Delim:
			switch t {
			case '{':
				names = append(names, map[string]bool{})
			case '[':
				names = append(names, nil)
			default:
				names = names[:len(names)-1]
			}
			name = len(names) > 0 && names[len(names)-1] != nil
			continue
		case string:
			if name {
				seen := names[len(names)-1]
				if seen[t] || strings.Trim(t, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
					return fmt.Errorf("field %.100q is there twice, or not one of ours", t)
				}
				seen[t], name = true, false
				continue
			}
		}
		name = len(names) > 0 && names[len(names)-1] != nil
	}
}
