// Package s3 is a store in a bucket of an object store that speaks S3: AWS, Ceph,
// Cloudflare R2, versitygw and others. An object is sent while it is written, in parts
// of bounded memory, and nothing is staged on disk. Every request has time-outs and is
// tried again after a failure that may pass.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/lease"
)

// Store is a store in a bucket, below a prefix. All methods may be called from several
// goroutines.
type Store struct {
	client *minio.Core
	creds  *credentials.Credentials
	bucket string
	root   string // the prefix of all keys: "" or with a "/" at its end
	opts   Options
	sse    encrypt.ServerSide // nil: as the bucket has it
	limits limits
	memory *memory
	gone   atomic.Bool // requests have failed for long, and none has succeeded since

	mu          sync.Mutex
	uploads     map[string]bool // ids of the multipart uploads of this store
	conditional *bool           // what probe has found
	probing     sync.Mutex
}

var _ store.Store = (*Store)(nil)

// limits are how long things may take.
type limits struct {
	connect   time.Duration // until there is a connection
	answer    time.Duration // from the end of a request to its answer
	complete  time.Duration // the same of what the store has to put together
	stall     time.Duration // without a byte of a body
	opening   time.Duration // of failing again and again, when the store is opened
	patience  time.Duration // the same afterwards
	pause     time.Duration // before the first new try; it doubles
	longest   time.Duration // pause
	orphan    time.Duration // without a new part, after which an upload is dead
	lookAgain time.Duration // after which a lock is looked at again, without conditional writes
	lease     lease.Times
}

func defaultLimits() limits {
	return limits{
		connect: 10 * time.Second, answer: time.Minute, complete: 5 * time.Minute, stall: 30 * time.Second,
		opening: 10 * time.Second, patience: 3 * time.Minute, pause: 200 * time.Millisecond, longest: 10 * time.Second,
		orphan: time.Hour, lookAgain: 3 * time.Second,
	}
}

// Open opens the store at a URL, s3://BUCKET or s3://BUCKET/PREFIX. It makes one request,
// so that a wrong address, bucket or credential is reported here: the error is of kind
// fault.Config then.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	return open(ctx, url, o, defaultLimits())
}

func open(ctx context.Context, url string, o Options, l limits) (*Store, error) {
	bucket, prefix, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Store{
		bucket: bucket, root: prefix, opts: o, sse: o.encryption(), limits: l, uploads: map[string]bool{},
		memory: newMemory(),
	}
	if s.creds, err = o.credentials(); err != nil {
		return nil, err
	}
	transport, err := o.transport(l)
	if err != nil {
		return nil, err
	}
	host, secure := o.host()
	s.client, err = minio.NewCore(host, &minio.Options{
		Creds: s.creds, Secure: secure, Transport: transport, Region: o.region(),
		BucketLookup: o.lookup(), MaxRetries: 1, // see retry
	})
	if err != nil {
		return nil, s.explain("open", err)
	}
	s.client.SetAppInfo("mbk", "1")
	return s, s.reach(ctx)
}

// reach makes sure that the bucket is there and may be listed.
func (s *Store) reach(ctx context.Context) error {
	_, err := s.anything(ctx, s.limits.opening)
	if err != nil {
		return s.explain("list objects", err)
	}
	return nil
}

// String returns the URL of the store.
func (s *Store) String() string {
	return "s3://" + strings.TrimSuffix(s.bucket+"/"+s.root, "/")
}

// key is the key of an object.
func (s *Store) key(name string) string { return s.root + name }

// Delete removes an object.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return err
	}
	return s.explain("delete "+name, s.remove(ctx, s.key(name)))
}

// remove removes what has a key. It is no error if there is nothing.
func (s *Store) remove(ctx context.Context, key string) error {
	err := s.retry(ctx, s.limits.patience, func(ctx context.Context) error {
		return s.within(ctx, s.limits.answer, func(w *watch) error {
			return s.client.RemoveObject(w.ctx, s.bucket, key, minio.RemoveObjectOptions{})
		})
	})
	if e, ok := answerOf(err); ok && (e.Code == minio.NoSuchKey || e.StatusCode == 200) {
		return nil // some stores answer 200 to a DELETE, and others 404
	}
	return err
}

// stat asks for what is known of an object. The error is fs.ErrNotExist if there is none.
func (s *Store) stat(ctx context.Context, key string) (info minio.ObjectInfo, err error) {
	err = s.retry(ctx, s.limits.patience, func(ctx context.Context) error {
		return s.within(ctx, s.limits.answer, func(w *watch) error {
			info, err = s.client.StatObject(w.ctx, s.bucket, key, minio.StatObjectOptions{})
			return err
		})
	})
	if isMissing(err) {
		err = fs.ErrNotExist
	}
	return info, err
}

// Empty reports whether there is no object below the prefix.
func (s *Store) Empty(ctx context.Context) (bool, error) {
	found, err := s.anything(ctx, s.limits.patience)
	if err != nil {
		return false, s.explain("list objects", err)
	}
	return !found, nil
}

// Space is not known.
func (s *Store) Space(ctx context.Context) (store.Space, error) { return store.Space{}, ctx.Err() }

// Exposed cannot be told: who may write to a bucket is for its owner to know.
func (s *Store) Exposed(ctx context.Context) ([]string, error) { return nil, ctx.Err() }

// Dir is none.
func (s *Store) Dir() string { return "" }

// Capabilities finds out, by three small writes, whether the store honours conditions, and
// whether the bucket has Object Lock, as far as that may be known.
func (s *Store) Capabilities(ctx context.Context) (store.Capabilities, error) {
	conditional, err := s.probe(ctx)
	if err != nil {
		return store.Capabilities{}, fmt.Errorf("find out what the store can do: %w", s.explain("write", err))
	}
	retains, err := s.retains(ctx)
	if ctx.Err() != nil {
		return store.Capabilities{}, ctx.Err()
	}
	return store.Capabilities{ConditionalPut: conditional, Lock: store.LockLease, Retention: err == nil && retains}, nil
}
