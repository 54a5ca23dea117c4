package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/lease"
)

// mostObjects bounds a list. A backup of 100 TiB has 100,000 objects.
const mostObjects = 4 << 20

// errTooMany is returned for a list that has no end.
var errTooMany = fmt.Errorf("more than %d objects: %w", mostObjects, errWrongAnswer)

// List lists the objects, sorted by name.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Object, error) {
	var list []store.Object
	err := s.retry(ctx, s.limits.patience, func(ctx context.Context) error {
		list = nil
		return s.walk(ctx, s.root+prefix, func(o minio.ObjectInfo) error {
			if name := strings.TrimPrefix(o.Key, s.root); !s.hidden(name) {
				list = append(list, store.Object{Name: name, Size: o.Size, Modified: o.LastModified})
			}
			if len(list) > mostObjects {
				return errTooMany
			}
			return nil
		})
	})
	if err != nil {
		return nil, s.explain("list "+prefix, err)
	}
	slices.SortFunc(list, func(a, b store.Object) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// keys lists the names of all objects with a prefix, those of locks included.
func (s *Store) keys(ctx context.Context, prefix string) (names []string, err error) {
	err = s.retry(ctx, s.limits.patience, func(ctx context.Context) error {
		names = nil
		return s.walk(ctx, s.root+prefix, func(o minio.ObjectInfo) error {
			if len(names) > mostObjects {
				return errTooMany
			}
			names = append(names, strings.TrimPrefix(o.Key, s.root))
			return nil
		})
	})
	return names, s.explain("list "+prefix, err)
}

// hidden reports whether a name is none of an object of the repository: that of a lock,
// of a probe, or of a folder, which the web pages of some stores make.
func (s *Store) hidden(name string) bool {
	return name == "" || strings.HasPrefix(name, lease.Prefix) || strings.HasPrefix(name, probePrefix) ||
		strings.HasSuffix(name, "/")
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// walk calls visit for all keys with a prefix, page after page, until visit returns an
// error.
func (s *Store) walk(ctx context.Context, prefix string, visit func(minio.ObjectInfo) error) error {
	w := newWatch(ctx, s.limits.answer)
	defer w.end()
	options := minio.ListObjectsOptions{Prefix: prefix, Recursive: true}
	for o := range s.client.ListObjectsIter(w.ctx, s.bucket, options) {
		if o.Err != nil {
			return w.why(o.Err)
		}
		w.allow(s.limits.answer)
		if !strings.HasPrefix(o.Key, prefix) {
			return fmt.Errorf("asked for %q, listed %q: %w", prefix, o.Key, errWrongAnswer)
		}
		if err := visit(o); err != nil {
			return err
		}
	}
	return w.why(w.ctx.Err())
}

// anything reports whether there is any object of the repository.
func (s *Store) anything(ctx context.Context, patience time.Duration) (found bool, err error) {
	err = s.retry(ctx, patience, func(ctx context.Context) error {
		return s.walk(ctx, s.root, func(o minio.ObjectInfo) error {
			if s.hidden(strings.TrimPrefix(o.Key, s.root)) {
				return nil
			}
			found = true
			return errEnough
		})
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return found, err
}

// SweepTemp ends multipart uploads that nobody works on: not this store, and nobody else
// because no part has come for an hour by the store's clock. A store that cannot list
// uploads has to end them by a rule of its bucket.
func (s *Store) SweepTemp(ctx context.Context, prefix string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	uploads, err := s.unfinished(ctx, s.root+prefix)
	if answer, ok := answerOf(err); ok && answer.StatusCode == http.StatusNotImplemented {
		return nil, nil
	}
	if err != nil {
		return nil, s.explain("list unfinished uploads", err)
	}
	var swept []string
	var failed []error
	for _, u := range uploads {
		name := strings.TrimPrefix(u.Key, s.root)
		dead, err := s.abandoned(ctx, u)
		if err == nil && dead {
			err = s.abort(ctx, u.Key, u.UploadID)
		}
		switch {
		case err != nil:
			failed = append(failed, s.explain("end the unfinished upload of "+name, err))
		case dead:
			swept = append(swept, name)
		}
	}
	return swept, errors.Join(failed...)
}

// unfinished lists the multipart uploads of keys with a prefix.
func (s *Store) unfinished(ctx context.Context, prefix string) (all []minio.ObjectMultipartInfo, err error) {
	var key, id string
	for {
		var page minio.ListMultipartUploadsResult
		err := s.retry(ctx, s.limits.patience, func(ctx context.Context) error {
			return s.within(ctx, s.limits.answer, func(w *watch) (err error) {
				page, err = s.client.ListMultipartUploads(w.ctx, s.bucket, prefix, key, id, "", 1000)
				return err
			})
		})
		if err != nil {
			return nil, err
		}
		for _, u := range page.Uploads {
			if strings.HasPrefix(u.Key, prefix) { // some stores ignore the prefix
				all = append(all, u)
			}
		}
		if !page.IsTruncated || len(page.Uploads) == 0 || len(all) > mostObjects ||
			page.NextKeyMarker == key && page.NextUploadIDMarker == id {
			return all, nil
		}
		key, id = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// abandoned reports whether nobody works on an upload.
func (s *Store) abandoned(ctx context.Context, u minio.ObjectMultipartInfo) (bool, error) {
	s.mu.Lock()
	ours := s.uploads[u.UploadID]
	s.mu.Unlock()
	if ours || time.Since(u.Initiated) < s.limits.orphan {
		return false, nil
	}
	newest := u.Initiated
	for marker := 0; ; {
		var page minio.ListObjectPartsResult
		err := s.retry(ctx, s.limits.patience, func(ctx context.Context) error {
			return s.within(ctx, s.limits.answer, func(w *watch) (err error) {
				page, err = s.client.ListObjectParts(w.ctx, s.bucket, u.Key, u.UploadID, marker, 1000)
				return err
			})
		})
		if answer, ok := answerOf(err); ok && answer.Code == noSuchUpload {
			return false, nil // it was finished or ended meanwhile
		}
		if err != nil {
			return false, err
		}
		for _, part := range page.ObjectParts {
			if part.LastModified.After(newest) {
				newest = part.LastModified
			}
		}
		if !page.IsTruncated || page.NextPartNumberMarker <= marker {
			return time.Since(newest) > s.limits.orphan, nil
		}
		marker = page.NextPartNumberMarker
	}
}
