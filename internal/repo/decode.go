package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"mbk/copier/pack"
)

// Bounds of what a manifest may hold. A manifest of 200,000 tables has about 200 MB, of
// which a tenth is stored.
const (
	maxManifest       = 1 << 30   // bytes
	maxManifestStored = 256 << 20 // bytes
	maxManifestRatio  = 1000      // bytes for each that is stored; lists of names that count up have 150
	smallManifest     = 16 << 20  // bytes that a manifest may have whatever its ratio
	maxManifestValue  = 64 << 20  // bytes of one file, table and so on, or of what is not a list of them
	maxManifestList   = 5_000_000 // entries of a list

	// jsonPerObject is how many bytes of JSON an object has at least, on average: what
	// is written as less takes up many times its size in memory.
	jsonPerObject = 32
	jsonPerFile   = 64
)

// decodeManifest reads the bytes of a manifest object. They may be hostile: it takes a
// large object to make it use a lot of memory, and a few gigabytes are the most.
func decodeManifest(b []byte) (*Manifest, error) {
	doc, err := pack.OpenDocument(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer doc.Close() //nolint:errcheck // only read
	in := &meteredReader{r: doc, most: min(maxManifest, max(smallManifest, maxManifestRatio*int64(len(b))))}
	d := &manifestDecoder{in: in, json: json.NewDecoder(in), m: new(Manifest), rest: map[string]json.RawMessage{}}
	if err := d.decode(); errors.Is(err, ErrNewerFormat) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := d.m.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return d.m, nil
}

// errTooMuch is returned for a document that says more than its bytes are worth.
var errTooMuch = errors.New("it is too large")

// meteredReader reads up to a number of bytes, which moves.
type meteredReader struct {
	r     io.Reader
	read  int64
	most  int64 // that may be read at all
	value int64 // that may be read before the present value ends
}

func (m *meteredReader) Read(p []byte) (int, error) {
	left := min(m.most, m.value) - m.read
	if left <= 0 {
		return 0, fmt.Errorf("%w: more than %d bytes", errTooMuch, m.read)
	}
	n, err := m.r.Read(p[:min(int64(len(p)), left)])
	m.read += int64(n)
	return n, err
}

// manifestDecoder reads a manifest value by value, so that the document is never in
// memory as a whole, and what it says is counted before there is room made for it.
type manifestDecoder struct {
	in   *meteredReader
	json *json.Decoder
	m    *Manifest
	rest map[string]json.RawMessage // what is in no long list
}

func (d *manifestDecoder) decode() error {
	lists := map[string]func() error{
		"directories": func() error { return readList(d, &d.m.Directories, jsonPerObject) },
		"tables":      func() error { return readList(d, &d.m.Tables, jsonPerObject) },
		"files":       func() error { return readList(d, &d.m.Files, jsonPerFile) },
		"packs":       func() error { return readList(d, &d.m.Packs, jsonPerObject) },
		"left_out":    func() error { return readList(d, &d.m.LeftOut, jsonPerObject) },
		"damaged":     func() error { return readList(d, &d.m.Damaged, jsonPerObject/2) }, // {"file":"a","page":1}
	}
	if err := d.delim('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for d.more() {
		key, err := d.key()
		if err != nil {
			return err
		}
		if len(seen) == 0 {
			if err := d.version(key); err != nil {
				return err
			}
			seen[key] = true
			continue
		}
		// Package json does not mind case.
		if folded := strings.ToLower(key); seen[folded] || folded != key {
			return fmt.Errorf("field %.100q is there twice, or not one of ours", key)
		}
		seen[key] = true
		if read := lists[key]; read != nil {
			err = read()
		} else {
			d.rest[key], err = d.raw(64)
		}
		if err != nil {
			return fmt.Errorf("field %.100q: %w", key, err)
		}
	}
	if err := d.delim('}'); err != nil {
		return err
	}
	if d.more(); d.json.Decode(new(json.RawMessage)) != io.EOF {
		return errors.New("something follows the document")
	}
	rest, err := json.Marshal(d.rest)
	if err != nil {
		return err
	}
	return json.Unmarshal(rest, d.m)
}

// version reads the first field, which says how to understand the others.
func (d *manifestDecoder) version(key string) error {
	if key != "format_version" {
		return fmt.Errorf("the first field is %.100q, not format_version", key)
	}
	raw, err := d.raw(0)
	if err == nil {
		err = json.Unmarshal(raw, &d.m.FormatVersion)
	}
	if err != nil {
		return err
	}
	d.rest[key] = raw
	return checkFormat(d.m.FormatVersion)
}

// more allows the next value its bytes, and reports whether there is one in this list.
func (d *manifestDecoder) more() bool {
	d.in.value = d.json.InputOffset() + maxManifestValue
	return d.json.More()
}

func (d *manifestDecoder) delim(want json.Delim) error {
	d.in.value = d.json.InputOffset() + maxManifestValue
	t, err := d.json.Token()
	if err == nil && t != want {
		err = fmt.Errorf("there is %.100q where %q is to be", fmt.Sprint(t), want.String())
	}
	return err
}

func (d *manifestDecoder) key() (string, error) {
	t, err := d.json.Token()
	key, ok := t.(string)
	if err == nil && !ok {
		err = fmt.Errorf("there is %.100q where a name is to be", fmt.Sprint(t))
	}
	return key, err
}

// raw reads a value, with so many objects as its size allows and some more.
func (d *manifestDecoder) raw(more int) (json.RawMessage, error) {
	d.in.value = d.json.InputOffset() + maxManifestValue
	var raw json.RawMessage
	if err := d.json.Decode(&raw); err != nil {
		return nil, err
	}
	return raw, checkDensity(raw, more)
}

// readList reads a list of objects that have so many bytes each, on average.
func readList[T any](d *manifestDecoder, list *[]T, least int64) error {
	d.in.value = d.json.InputOffset() + maxManifestValue
	t, err := d.json.Token()
	if err != nil || t == nil { // null
		return err
	}
	if t != json.Delim('[') {
		return fmt.Errorf("there is %.100q where a list is to be", fmt.Sprint(t))
	}
	start := d.json.InputOffset()
	*list = []T{}
	for d.more() {
		raw, err := d.raw(8)
		if err != nil {
			return err
		}
		if n := int64(len(*list)); n == maxManifestList || n > 1000 && d.json.InputOffset()-start < n*least {
			return fmt.Errorf("%w: more than %d entries in %d bytes", errTooMuch, n, d.json.InputOffset()-start)
		}
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return err
		}
		*list = append(*list, v)
	}
	return d.delim(']')
}

// checkDensity returns an error if a document has more objects than its size allows
// and some more. Each takes memory, a null where an object belongs included.
func checkDensity(b []byte, more int) error {
	objects, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '{' || c == 'n'):
			objects++
		}
	}
	if objects > more+1+len(b)/jsonPerObject {
		return fmt.Errorf("%w: %d objects in %d bytes", errTooMuch, objects, len(b))
	}
	return nil
}
