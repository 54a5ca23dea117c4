package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"github.com/minio/minio-go/v7"

	"mbk/internal/repo/store"
)

// mostCuts is how often in a row a connection may be cut before it has delivered a byte.
const mostCuts = 5

// Open reads a range of an object. A connection that is cut, or stands still, is made
// again from where it ended, and the object must be the same then.
func (s *Store) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, fmt.Errorf("open %s: negative offset %d", name, offset)
	}
	return s.read(ctx, name, offset, n)
}

// read is Open for any name.
func (s *Store) read(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if n == 0 {
		if _, err := s.stat(ctx, s.key(name)); err != nil {
			return nil, s.explain("open "+name, err)
		}
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	r := &reader{s: s, ctx: ctx, name: name, offset: offset, end: -1}
	if n > 0 && offset+n > offset { // else to the end
		r.end = offset + n
	}
	if err := r.connect(); err != nil {
		return nil, s.explain("open "+name, err)
	}
	return r, nil
}

// reader reads an object from offset to end.
type reader struct {
	s      *Store
	ctx    context.Context
	name   string
	offset int64  // of the next byte
	end    int64  // behind the last byte; below 0 until it is known
	etag   string // of the object that is read
	body   io.ReadCloser
	w      *watch // of the request
	cuts   int    // in a row without a byte
}

// connect asks for what is left to be read. If that is nothing, there is no body.
func (r *reader) connect() error {
	r.disconnect()
	return r.s.retry(r.ctx, r.s.limits.patience, func(ctx context.Context) error {
		w := newWatch(ctx, r.s.limits.answer)
		body, err := r.request(w)
		if err != nil || body == nil {
			w.end()
			return w.why(err)
		}
		w.pause()
		r.body, r.w = body, w
		return nil
	})
}

// request makes one request. Its body is nil if the object ends before the offset.
func (r *reader) request(w *watch) (io.ReadCloser, error) {
	var options minio.GetObjectOptions
	ranged := r.offset > 0 || r.end >= 0
	if ranged {
		options.Set("Range", fmt.Sprintf("bytes=%d-", r.offset))
	}
	if r.end >= 0 {
		options.Set("Range", fmt.Sprintf("bytes=%d-%d", r.offset, r.end-1))
	}
	if r.etag != "" {
		options.Set("If-Match", `"`+r.etag+`"`)
	}
	body, info, header, err := r.s.client.GetObject(w.ctx, r.s.bucket, r.s.key(r.name), options)
	switch answer, _ := answerOf(err); {
	case isMissing(err):
		return nil, fs.ErrNotExist
	case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		r.end = r.offset
		return nil, nil
	case isRefused(err):
		return nil, fmt.Errorf("the object was replaced while it was read: %w", errWrongAnswer)
	case err != nil:
		return nil, err
	}
	end, err := r.answered(ranged, info.Size, header)
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	r.end, r.etag = end, info.ETag
	return body, nil
}

// answered returns the end of the range that the store has answered with.
func (r *reader) answered(ranged bool, length int64, header http.Header) (end int64, err error) {
	if !ranged {
		return length, nil
	}
	var first, last int64
	text := header.Get("Content-Range")
	if _, err := fmt.Sscanf(text, "bytes %d-%d/", &first, &last); err != nil || first != r.offset || last < first {
		return 0, fmt.Errorf("asked for bytes from %d, got %q: %w", r.offset, text, errWrongAnswer)
	}
	if r.end >= 0 && last+1 > r.end {
		return 0, fmt.Errorf("asked for bytes up to %d, got %q: %w", r.end, text, errWrongAnswer)
	}
	return last + 1, nil
}

// Read reads on, with a new connection if the one from before has ended too early.
func (r *reader) Read(p []byte) (int, error) {
	for {
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		if r.offset >= r.end && r.end >= 0 {
			return 0, io.EOF
		}
		if len(p) == 0 {
			return 0, nil
		}
		n, err := r.some(p[:min(int64(len(p)), r.end-r.offset)])
		r.offset += int64(n)
		if n > 0 {
			r.cuts = 0
			return n, nil
		}
		if err == nil {
			continue
		}
		if r.cuts++; r.cuts > mostCuts {
			return 0, r.s.explain("read "+r.name, fmt.Errorf("the connection was cut %d times in a row: %w", r.cuts, err))
		}
		if err := r.connect(); err != nil {
			return 0, r.s.explain("read "+r.name, err)
		}
	}
}

// some reads from the connection that there is.
func (r *reader) some(p []byte) (int, error) {
	r.w.allow(r.s.limits.stall)
	n, err := r.body.Read(p)
	r.w.pause()
	return n, r.w.why(err)
}

// disconnect gives the connection up.
func (r *reader) disconnect() {
	if r.body != nil {
		_ = r.body.Close() // nothing is written
		r.w.end()
		r.body = nil
	}
}

// Close ends the reading.
func (r *reader) Close() error {
	r.disconnect()
	return nil
}
