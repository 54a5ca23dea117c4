package repo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"mbk/internal/repo/store"
)

// configFile is what is in mbk-repository.json.
type configFile struct {
	Config
	// BLAKE3 is that of the lines before its own, see seal.
	BLAKE3 string `json:"blake3,omitempty"`
}

// decodeConfig reads the text of mbk-repository.json, and reports whether it has a
// checksum. Whatever has changed since it was written is ErrDamaged.
func decodeConfig(b []byte) (c Config, sealed bool, err error) {
	if sealed, err = checkSeal(b); err != nil {
		return c, false, err
	}
	var file configFile
	if err := decodeJSON(b, &file); err != nil {
		if !sealed && isEarly(b) {
			err = ErrEarlyFormat
		}
		return c, false, err
	}
	if err := checkKeys(b); err != nil {
		return c, false, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if sealed {
		return file.Config, true, nil
	}
	// Somebody wrote it by hand: without a checksum, but with no other fields either. So
	// a damaged name of the checksum's does not pass.
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil || file.BLAKE3 != "" {
		return c, false, fmt.Errorf("it has a field that is not one of ours: %w", ErrDamaged)
	}
	return file.Config, false, nil
}

// isEarly reports whether a document is of format 1, which no release has written.
func isEarly(b []byte) bool {
	var version struct {
		FormatVersion int `json:"format_version"`
	}
	return json.Unmarshal(b, &version) == nil && version.FormatVersion == 1
}

// putConfig writes mbk-repository.json, with what the store can do.
func (r *Repository) putConfig(ctx context.Context) (err error) {
	if r.config.Capabilities, err = r.st.Capabilities(ctx); err != nil {
		return err
	}
	b, err := seal(r.config)
	if err != nil {
		return fmt.Errorf("write %s: %w", configName, err)
	}
	if len(b) > maxConfig {
		return fmt.Errorf("write %s: it would have %d bytes: %w", configName, len(b), store.ErrTooLarge)
	}
	return store.PutBytes(ctx, r.st, configName, b)
}
