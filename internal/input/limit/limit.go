// Package limit adds the time limit to errors of work that exceeded it.
package limit

import (
	"context"
	"errors"
	"strings"
	"time"
)

// exceeded is an error caused by a time limit.
type exceeded struct {
	cause error
	limit time.Duration
}

func (e *exceeded) Error() string {
	return strings.ReplaceAll(e.cause.Error(), context.DeadlineExceeded.Error(), "not done within "+e.limit.String())
}

func (e *exceeded) Unwrap() error { return e.cause }

// Explain returns an error that says "not done within LIMIT" in place of "context
// deadline exceeded". It returns other errors unchanged.
func Explain(err error, limit time.Duration) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &exceeded{err, limit}
}
