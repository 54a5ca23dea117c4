package pack

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/blake3"
)

// CheckHash reads a whole object and compares its length and its BLAKE3, 64 hex digits,
// with those that it was stored with. A difference is a *DamageError.
func CheckHash(ctx context.Context, st Opener, name string, size int64, want string) (err error) {
	object := fullName(st, name)
	r, err := st.Open(ctx, name, 0, -1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	h := blake3.New()
	buf := make([]byte, min(max(size, 0), 1<<20-1)+1)
	n, err := io.CopyBuffer(h, onlyReader{r}, buf)
	if err != nil {
		return fmt.Errorf("read %s: %w", object, err)
	}
	if n != size {
		reason := fmt.Sprintf("%d bytes long, %d expected", n, size)
		return &DamageError{Object: object, Offset: min(n, size), Reason: reason}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return &DamageError{Object: object, Reason: fmt.Sprintf("its BLAKE3 is %s, %s expected", got, want)}
	}
	return nil
}

// onlyReader hides a WriteTo that would read in smaller steps.
type onlyReader struct{ io.Reader }
