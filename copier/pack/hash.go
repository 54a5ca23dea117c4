package pack

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"
)

// CheckHash reads a whole pack and compares its length and hash with those that it was
// written with. A difference is a *DamageError.
func CheckHash(ctx context.Context, st Opener, p Pack) (err error) {
	object := fullName(st, p.Name)
	r, err := st.Open(ctx, p.Name, 0, -1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	h := xxh3.New128()
	buf := make([]byte, min(max(p.Size, 0), 1<<20-1)+1)
	n, err := io.CopyBuffer(h, onlyReader{r}, buf)
	if err != nil {
		return fmt.Errorf("read %s: %w", object, err)
	}
	if n != p.Size {
		reason := fmt.Sprintf("%d bytes long, %d expected", n, p.Size)
		return &DamageError{Object: object, Offset: min(n, p.Size), Reason: reason}
	}
	sum := h.Sum128().Bytes()
	if got := hex.EncodeToString(sum[:]); got != p.Hash {
		return &DamageError{Object: object, Reason: fmt.Sprintf("its XXH3-128 is %s, %s expected", got, p.Hash)}
	}
	return nil
}

// onlyReader hides a WriteTo that would read in smaller steps.
type onlyReader struct{ io.Reader }
