package repo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/zeebo/blake3"

	"mbk/copier/pack"
	"mbk/internal/repo/agefile"
)

// newHash returns the hash of all that is stored.
func newHash() hash.Hash { return blake3.New() }

// segmentBody is the body of a segment that is being read.
type segmentBody struct {
	name   string
	want   *Segment
	stored io.ReadCloser
	hash   hash.Hash
	size   int64 // bytes that were read as they are stored
	raw    int64 // bytes that were returned
	plain  io.ReadCloser
}

// open puts the layers of the body on top of each other.
func (b *segmentBody) open(ctx context.Context, r *Repository) error {
	var from io.Reader = hashedReader{b}
	if b.want.Key != "" {
		key, err := r.archiveKey(ctx, b.want.Key)
		if err == nil {
			from, err = key.DecryptStream(from)
		}
		if err != nil {
			return b.damaged(err)
		}
	}
	var err error
	b.plain, err = pack.NewDecompressor(from)
	return err
}

// hashedReader reads the body as it is stored.
type hashedReader struct{ b *segmentBody }

// Read implements io.Reader.
func (h hashedReader) Read(p []byte) (int, error) {
	if h.b.size > h.b.want.Bytes {
		return 0, &pack.DamageError{Object: h.b.name, Offset: h.b.size, Reason: "it is longer than its head says"}
	}
	n, err := h.b.stored.Read(p)
	h.b.hash.Write(p[:n])
	h.b.size += int64(n)
	return n, err
}

// Read implements io.Reader.
func (b *segmentBody) Read(p []byte) (int, error) {
	n, err := b.plain.Read(p)
	b.raw += int64(n)
	switch {
	case b.raw > b.want.Raw:
		return n, &pack.DamageError{Object: b.name, Reason: "it holds more than its head says"}
	case err == io.EOF:
		return n, b.check()
	case err != nil:
		return n, b.damaged(err)
	}
	return n, nil
}

// check compares the whole body with what the head says, and returns io.EOF if it is that.
func (b *segmentBody) check() error {
	if _, err := io.Copy(io.Discard, hashedReader{b}); err != nil {
		return b.damaged(err)
	}
	if b.size != b.want.Bytes || b.raw != b.want.Raw || hex.EncodeToString(b.hash.Sum(nil)) != b.want.BodyBLAKE3 {
		return &pack.DamageError{Object: b.name, Reason: "it is not what its head says"}
	}
	return io.EOF
}

// damaged makes a *pack.DamageError of an error that is about damage.
func (b *segmentBody) damaged(err error) error {
	if errors.Is(err, pack.ErrCompressed) {
		return &pack.DamageError{Object: b.name, Reason: err.Error()}
	}
	return damageOf(b.name, err)
}

// Close implements io.Closer.
func (b *segmentBody) Close() error { return errors.Join(b.plain.Close(), b.stored.Close()) }

// archiveKey returns the key of the history with a public half: segments are encrypted to these.
func (r *Repository) archiveKey(_ context.Context, public string) (*agefile.Key, error) {
	r.keying.Lock()
	defer r.keying.Unlock()
	for _, k := range r.config.HistoryKeys {
		if k.Recipient != public {
			continue
		}
		if key := r.historyKeys[public]; key != nil {
			return key, nil
		}
		key, err := agefile.OpenKey(k.Sealed, r.identities, r.config.Recipients)
		if err != nil {
			return nil, err
		}
		if !key.Is(public) {
			return nil, fmt.Errorf("%s: the key %.40s is another one: %w", configName, public, ErrDamaged)
		}
		if r.historyKeys == nil {
			r.historyKeys = map[string]*agefile.Key{}
		}
		r.historyKeys[public] = key
		return key, nil
	}
	return nil, fmt.Errorf("%s has no key %.40s, to which the segment is encrypted: %w", configName, public, ErrDamaged)
}
