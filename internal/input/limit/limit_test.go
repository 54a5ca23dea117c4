package limit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"mbk/internal/input/limit"
)

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("discard 20261129T185255Z-full: %w", context.DeadlineExceeded),
			"discard 20261129T185255Z-full: not done within 30s"},
		{errors.Join(io.ErrUnexpectedEOF, context.DeadlineExceeded), "unexpected EOF\nnot done within 30s"},
		{io.ErrUnexpectedEOF, "unexpected EOF"},
		{context.Canceled, "context canceled"},
	} {
		got := limit.Explain(c.err, 30*time.Second)
		if got.Error() != c.want || !errors.Is(got, c.err) {
			t.Errorf("Explain(%v) = %v, want %s", c.err, got, c.want)
		}
	}
	if got := limit.Explain(nil, time.Second); got != nil {
		t.Errorf("Explain(nil) = %v", got)
	}
}
