package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/store"
)

// errNoObjectLock is returned if objects are to be retained in a bucket that cannot.
var errNoObjectLock = fault.New(fault.Config, "Object Lock is not enabled for the bucket")

// objectLockHint says how to get a bucket that can.
func objectLockHint() hint.Text {
	return "enable Object Lock for the bucket, which needs versions and with many stores can only be done when the " +
		"bucket is made; or leave " + hint.Option("object-lock") + " out"
}

// RetainFor returns for how long objects are retained, 0 if they are not.
func (s *Store) RetainFor() time.Duration { return s.opts.RetainFor }

// retention returns the options of a write that retain an object from now on: none if it is
// not one of those.
func (s *Store) retention(name string) (mode minio.RetentionMode, until time.Time) {
	if s.opts.RetainFor == 0 || s.opts.Retained == nil || !s.opts.Retained(name) {
		return "", time.Time{}
	}
	return s.retainMode(), wholeSecond(time.Now().Add(s.opts.RetainFor))
}

func (s *Store) retainMode() minio.RetentionMode {
	if s.opts.RetainMode == RetainCompliance {
		return minio.Compliance
	}
	return minio.Governance
}

// wholeSecond rounds a time up: requests have no fractions.
func wholeSecond(t time.Time) time.Time { return t.UTC().Add(time.Second - 1).Truncate(time.Second) }

// Retain extends the retention of an object, which is never shortened.
func (s *Store) Retain(ctx context.Context, name string, until time.Time) error {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return err
	}
	mode, until := s.retainMode(), wholeSecond(until)
	err := s.retry(ctx, s.limits.patience, func(ctx context.Context) error {
		return s.within(ctx, s.limits.answer, func(w *watch) error {
			return s.client.PutObjectRetention(w.ctx, s.bucket, s.key(name),
				minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &until})
		})
	})
	if err == nil {
		return nil
	}
	if ctx.Err() == nil { // it may be retained for longer
		if there, failed := s.RetainedUntil(ctx, name); failed == nil && !there.Before(until) {
			return nil
		}
	}
	return s.explain("retain "+name, err)
}

// RetainedUntil asks until when an object is retained. Whoever may not know that, or asks a
// store that does not tell, gets the zero time.
func (s *Store) RetainedUntil(ctx context.Context, name string) (time.Time, error) {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return time.Time{}, err
	}
	info, err := s.stat(ctx, s.key(name))
	if err != nil {
		return time.Time{}, s.explain("stat "+name, err)
	}
	text := info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date")
	if text == "" {
		return time.Time{}, nil
	}
	until, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, s.explain("stat "+name, fmt.Errorf("it is retained until %.100q: %w", text, errWrongAnswer))
	}
	return until, nil
}

// retains reports whether the bucket can retain objects. A store that does not answer that
// question cannot.
func (s *Store) retains(ctx context.Context) (bool, error) {
	var enabled string
	err := s.retry(ctx, s.limits.opening, func(ctx context.Context) error {
		return s.within(ctx, s.limits.answer, func(w *watch) (err error) {
			enabled, _, _, _, err = s.client.GetObjectLockConfig(w.ctx, s.bucket)
			return err
		})
	})
	answer, ok := answerOf(err)
	switch status := answer.StatusCode; {
	case !ok || status == http.StatusForbidden:
	case status < http.StatusInternalServerError, status == http.StatusNotImplemented:
		return false, nil // ObjectLockConfigurationNotFoundError, and the words of other stores
	}
	return strings.EqualFold(enabled, "Enabled"), err
}

// Writable returns why objects could not be retained, if they are to be. Else it cannot be
// told without a write.
func (s *Store) Writable(ctx context.Context) error {
	if s.opts.RetainFor == 0 {
		return ctx.Err()
	}
	can, err := s.retains(ctx)
	if err == nil && !can {
		return hint.Wrap(fmt.Errorf("%s: %w", s, errNoObjectLock), objectLockHint())
	}
	return s.explain("retain objects", err)
}
