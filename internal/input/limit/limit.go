// Package limit gives errors of work that ran out of time the limit that it had.
package limit

import (
	"context"
	"errors"
	"strings"
	"time"
)

// exceeded is an error that came because a limit was over.
type exceeded struct {
	cause error
	limit time.Duration
}

func (e *exceeded) Error() string {
	return strings.ReplaceAll(e.cause.Error(), context.DeadlineExceeded.Error(), "not done within "+e.limit.String())
}

func (e *exceeded) Unwrap() error { return e.cause }

// Explain is for an error of work that had so much time. Where the words would only be
// "context deadline exceeded", they tell the limit. Other errors stay as they are.
func Explain(err error, limit time.Duration) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &exceeded{err, limit}
}
