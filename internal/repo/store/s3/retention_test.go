package s3

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/test/s3test"
)

// What is to be retained cannot be removed by anybody, and all else can. Retention is
// extended and never shortened.
func TestObjectLock(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	client := server.Locking(t, "locked")
	for _, mode := range []string{RetainGovernance, RetainCompliance} {
		s := openAt(t, server, server.Endpoint(), "db1", func(o *Options, _ *limits) {
			o.RetainFor, o.RetainMode = 48*time.Hour, mode
			o.Retained = func(name string) bool { return strings.HasPrefix(name, "backups/") }
		})
		s.bucket, s.root = "locked", "of-"+mode+"/"
		if err := s.Writable(t.Context()); err != nil {
			t.Fatal(err)
		}
		can, err := s.Capabilities(t.Context())
		if err != nil || !can.Retention {
			t.Errorf("Capabilities = %+v, %v", can, err)
		}
		lock, err := s.Lock(t.Context(), "mbk", "a test")
		if err != nil {
			t.Fatal(err)
		}
		sizes := map[string]int{"backups/small": 10, "backups/large": 2*MinPartSize + 7, "history/record": 10}
		for name, size := range sizes {
			if err := putPieces(t.Context(), s, name, content(size)); err != nil {
				t.Fatal(err)
			}
			until, err := s.RetainedUntil(t.Context(), name)
			left := time.Until(until)
			if want := strings.HasPrefix(name, "backups/"); err != nil || want != (left > 47*time.Hour) || left > 49*time.Hour {
				t.Errorf("%s: %s is retained for %s, %v", mode, name, left, err)
			}
		}
		if err := lock.Release(); err != nil {
			t.Error(err)
		}
		later := time.Now().Add(100 * time.Hour)
		for _, until := range []time.Time{later, later.Add(-90 * time.Hour)} {
			if err := s.Retain(t.Context(), "backups/large", until); err != nil {
				t.Errorf("%s: Retain: %v", mode, err)
			}
		}
		if until, err := s.RetainedUntil(t.Context(), "backups/large"); err != nil || until.Before(later) {
			t.Errorf("%s: retained until %s, %v; want %s", mode, until, err, later)
		}
		for o := range client.ListObjectsIter(t.Context(), "locked",
			minio.ListObjectsOptions{Prefix: s.root, Recursive: true, WithVersions: true}) {
			if o.Err != nil || o.IsDeleteMarker {
				continue
			}
			err := client.RemoveObject(t.Context(), "locked", o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID})
			if retained := strings.HasPrefix(o.Key, s.root+"backups/"); retained != (err != nil) {
				t.Errorf("%s: removing %s: %v", mode, o.Key, err)
			}
		}
		if _, err := s.stat(t.Context(), s.key("backups/large")); err != nil {
			t.Errorf("%s: the object is gone: %v", mode, err)
		}
	}
}

// A bucket without Object Lock is named before anything is written.
func TestNoObjectLock(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	s := openAt(t, server, server.Endpoint(), "db1", func(o *Options, _ *limits) { o.RetainFor = time.Hour })
	err := s.Writable(t.Context())
	if !errors.Is(err, errNoObjectLock) || fault.Of(err) != fault.Config || len(hint.Attached(err)) == 0 {
		t.Errorf("Writable: %v", err)
	}
	can, err := s.Capabilities(t.Context())
	if err != nil || can.Retention {
		t.Errorf("Capabilities = %+v, %v", can, err)
	}
	for name, o := range map[string]Options{
		"no checksum":  {RetainFor: time.Hour, Checksum: ChecksumNone},
		"another mode": {RetainFor: time.Hour, RetainMode: "strict"},
		"for ever":     {RetainFor: 101 * 365 * 24 * time.Hour},
	} {
		if err := o.Validate(); fault.Of(err) != fault.Config {
			t.Errorf("%s: %v", name, err)
		}
	}
}
