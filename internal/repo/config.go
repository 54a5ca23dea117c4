package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"mbk/internal/repo/store"
)

// The end of mbk-repository.json, around the checksum of all that is before it.
const (
	beforeSum = "  \"sha256\": \""
	afterSum  = "\"\n}\n"
)

// configFile is what is in mbk-repository.json.
type configFile struct {
	Config
	// SHA256 is that of the lines before its own, in hex. Earlier versions did not
	// write it.
	SHA256 string `json:"sha256,omitempty"`
}

// encodeConfig makes the text of mbk-repository.json. It is for people, too:
// "head -n -2 mbk-repository.json | sha256sum" prints the checksum.
func encodeConfig(c Config) ([]byte, error) {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, err
	}
	b = append(bytes.TrimSuffix(b, []byte("\n}")), ",\n"...)
	sum := sha256.Sum256(b)
	return append(b, beforeSum+hex.EncodeToString(sum[:])+afterSum...), nil
}

// decodeConfig reads that text, and reports whether it has a checksum. Whatever has
// changed since then is ErrDamaged.
func decodeConfig(b []byte) (c Config, sealed bool, err error) {
	end := bytes.LastIndex(b, []byte(beforeSum))
	if end >= 0 {
		sum := sha256.Sum256(b[:end])
		if string(b[end:]) != beforeSum+hex.EncodeToString(sum[:])+afterSum {
			return c, false, fmt.Errorf("its checksum does not fit: %w", ErrDamaged)
		}
	}
	var file configFile
	if err := decodeJSON(b, &file); err != nil {
		return c, false, err
	}
	if end >= 0 {
		return file.Config, true, nil
	}
	// An earlier version wrote it, or somebody by hand: without a checksum, but with
	// no other fields either. So a damaged name of the checksum's does not pass.
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil || file.SHA256 != "" {
		return c, false, fmt.Errorf("it has a field that is not one of ours: %w", ErrDamaged)
	}
	return file.Config, false, nil
}

// putConfig writes mbk-repository.json.
func (r *Repository) putConfig(ctx context.Context) error {
	b, err := encodeConfig(r.config)
	if err != nil {
		return fmt.Errorf("write %s: %w", configName, err)
	}
	return store.PutBytes(ctx, r.st, configName, b)
}
