package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"mbk/internal/repo/store"
)

// tokenKey is the metadata that tells one writing of an object from all others, so that a
// write whose answer was lost is recognized.
const tokenKey = "Mbk-Upload"

// noSuchUpload is the answer about an upload that was completed or ended.
const noSuchUpload = "NoSuchUpload"

// Put sends an object while it is written: as a whole if it is smaller than a part, else
// in parts. Each part is sent again as long as that may help; what was sent before stays.
func (s *Store) Put(ctx context.Context, name string, write func(w io.Writer) error) error {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return err
	}
	objects := s.memory.begin()
	defer s.memory.done()
	w := s.newWriter(ctx, name, s.opts.firstPart(objects))
	defer w.close()
	if err := write(w); err != nil {
		return err
	}
	return w.finish()
}

// writer is what the callback of Put writes to. It gathers a part and sends it, in the
// background if the memory of the store allows another part meanwhile.
type writer struct {
	s      *Store
	ctx    context.Context // of the requests; ends with the first failure
	cancel context.CancelFunc
	outer  context.Context // of the caller
	name   string
	key    string
	token  string

	first  int64 // size of the first part
	part   *part // that is being gathered
	number int   // its number, from 1
	size   int64 // of all parts, in bytes
	id     string
	whole  bool // the object is complete

	sending sync.WaitGroup
	mu      sync.Mutex
	sent    map[int]minio.CompletePart
	err     error // the first failure
}

func (s *Store) newWriter(ctx context.Context, name string, first int64) *writer {
	w := &writer{
		s: s, outer: ctx, name: name, key: s.key(name), token: rand.Text(), first: first, part: &part{}, number: 1,
		sent: map[int]minio.CompletePart{},
	}
	w.ctx, w.cancel = context.WithCancel(ctx)
	return w
}

// failure returns the first failure.
func (w *writer) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// fail keeps the first failure and ends all requests.
func (w *writer) fail(err error) error {
	if outer := w.outer.Err(); outer != nil {
		err = outer
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.s.explain("write "+w.name, err)
		w.cancel()
	}
	return w.err
}

// Write appends p to the object. The error may be that of an earlier part.
func (w *writer) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if err := w.failure(); err != nil {
			return n, err
		}
		room := partSize(w.first, w.number) - w.part.size
		piece := p[n:min(int64(len(p)), int64(n)+room)]
		w.part.append(piece)
		n += len(piece)
		w.size += int64(len(piece))
		if int64(len(piece)) == room {
			if err := w.send(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// send sends the part that was gathered and begins the next one.
func (w *writer) send() error {
	if w.id == "" {
		if err := w.begin(); err != nil {
			return w.fail(err)
		}
	}
	full, number := w.part, w.number
	w.part, w.number = &part{}, number+1
	if !w.s.memory.more() {
		return w.sendPart(number, full)
	}
	w.sending.Go(func() {
		defer w.s.memory.done()
		_ = w.sendPart(number, full) // the writer keeps the failure
	})
	return nil
}

// begin begins the upload in parts.
func (w *writer) begin() (err error) {
	options := w.s.putOptions(w.token)
	options.Mode, options.RetainUntilDate = w.s.retention(w.name)
	options.StorageClass = w.s.opts.StorageClass
	if w.s.checksum() == ChecksumCRC32C {
		options.UserMetadata["X-Amz-Checksum-Algorithm"] = "CRC32C"
	}
	err = w.s.retry(w.ctx, w.s.limits.patience, func(ctx context.Context) error {
		return w.s.within(ctx, w.s.limits.answer, func(watch *watch) (err error) {
			w.id, err = w.s.client.NewMultipartUpload(watch.ctx, w.s.bucket, w.key, options)
			if err == nil && w.id == "" {
				err = errors.New("the store gave no id for an upload")
			}
			return err
		})
	})
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.uploads[w.id] = true
	return err
}

// sendPart sends a part, and gives its memory back.
func (w *writer) sendPart(number int, p *part) error {
	defer p.release()
	headers := w.s.checksums(p)
	var sent minio.ObjectPart
	err := w.s.retry(w.ctx, w.s.limits.patience, func(ctx context.Context) error {
		return w.s.within(ctx, w.s.limits.stall, func(watch *watch) (err error) {
			content := w.s.body(p, watch)
			defer content.end()
			sent, err = w.s.client.PutObjectPart(watch.ctx, w.s.bucket, w.key, w.id, number, content, p.size,
				minio.PutObjectPartOptions{CustomHeader: headers.part(), Md5Base64: headers.md5, DisableContentSha256: true})
			if err == nil && sent.ETag == "" {
				err = errors.New("the store gave no ETag for a part")
			}
			return err
		})
	})
	if err != nil {
		return w.fail(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent[number] = minio.CompletePart{PartNumber: number, ETag: sent.ETag, ChecksumCRC32C: headers.crc32c}
	return nil
}

// finish sends what is left and makes the object appear.
func (w *writer) finish() error {
	if err := errors.Join(w.outer.Err(), w.failure()); err != nil {
		return err
	}
	if w.id == "" {
		retained := func(o *minio.PutObjectOptions) { o.Mode, o.RetainUntilDate = w.s.retention(w.name) }
		if err := w.s.putSmall(w.ctx, w.key, w.part, retained); err != nil {
			return w.fail(err)
		}
		w.whole = true
		return nil
	}
	if w.part.size > 0 {
		if err := w.send(); err != nil {
			return err
		}
	}
	w.sending.Wait()
	if err := w.failure(); err != nil {
		return err
	}
	if err := w.complete(); err != nil {
		return w.fail(err)
	}
	w.whole = true
	return nil
}

// complete puts the parts together, and looks whether the object is what it should be. A
// store may do the work and lose the answer, or answer "200 OK" with an error in it.
func (w *writer) complete() error {
	parts := make([]minio.CompletePart, 0, len(w.sent))
	for number := 1; number < w.number; number++ {
		parts = append(parts, w.sent[number])
	}
	err := w.s.retry(w.ctx, w.s.limits.patience, func(ctx context.Context) error {
		err := w.s.within(ctx, w.s.limits.complete, func(watch *watch) error {
			_, err := w.s.client.CompleteMultipartUpload(watch.ctx, w.s.bucket, w.key, w.id, parts, minio.PutObjectOptions{})
			return err
		})
		answer, _ := answerOf(err)
		if err == nil || answer.Code != noSuchUpload && !mayPass(err) {
			return err
		}
		info, there := w.s.stat(ctx, w.key)
		if there == nil && info.UserMetadata[tokenKey] == w.token {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	info, err := w.s.stat(w.ctx, w.key)
	if err != nil {
		return err
	}
	if token := info.UserMetadata[tokenKey]; info.Size != w.size || token != "" && token != w.token {
		return fmt.Errorf("it has %d bytes after %d were sent, or somebody else has written it: %w",
			info.Size, w.size, errWrongAnswer)
	}
	return nil
}

// abortTime bounds how long the parts of a failed upload are taken care of.
const abortTime = 15 * time.Second

// close ends what is under way, and the upload unless the object is whole.
func (w *writer) close() {
	w.cancel()
	w.sending.Wait()
	w.part.release()
	if w.id == "" {
		return
	}
	if !w.whole {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.outer), abortTime)
		defer cancel()
		_ = w.s.abort(ctx, w.key, w.id) // else SweepTemp does it
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	delete(w.s.uploads, w.id)
}

// abort ends an upload and removes its parts.
func (s *Store) abort(ctx context.Context, key, id string) error {
	err := s.retry(ctx, s.limits.opening, func(ctx context.Context) error {
		return s.within(ctx, s.limits.answer, func(w *watch) error {
			return s.client.AbortMultipartUpload(w.ctx, s.bucket, key, id)
		})
	})
	if answer, ok := answerOf(err); ok && answer.Code == noSuchUpload {
		return nil
	}
	return err
}

// create makes a small object if there is none, else the error is fs.ErrExist. It is that,
// too, if an earlier try has made it and its answer was lost.
func (s *Store) create(ctx context.Context, key string, content []byte) error {
	err := s.putSmall(ctx, key, bytesPart(content), func(o *minio.PutObjectOptions) { o.SetMatchETagExcept("*") })
	if isRefused(err) {
		return fs.ErrExist
	}
	return err
}

// putSmall sends an object as a whole. more sets further options; it may be nil.
func (s *Store) putSmall(ctx context.Context, key string, p *part, more func(*minio.PutObjectOptions)) error {
	options, headers := s.putOptions(rand.Text()), s.checksums(p)
	if headers.crc32c != "" {
		options.UserMetadata[headerCRC32C] = headers.crc32c
	}
	if more != nil {
		more(&options)
	}
	return s.retry(ctx, s.limits.patience, func(ctx context.Context) error {
		return s.within(ctx, max(s.limits.stall, s.limits.answer), func(w *watch) error {
			content := s.body(p, w)
			defer content.end()
			_, err := s.client.PutObject(w.ctx, s.bucket, key, content, p.size, headers.md5, "", options)
			return err
		})
	})
}

// putOptions are the options of a new object.
func (s *Store) putOptions(token string) minio.PutObjectOptions {
	return minio.PutObjectOptions{
		ServerSideEncryption: s.sse, UserMetadata: map[string]string{tokenKey: token},
		DisableContentSha256: true, // checksums find damage on the way, and mbk's own hashes all other
	}
}

// body is a part on its way.
func (s *Store) body(p *part, w *watch) *body {
	return &body{content: io.NewSectionReader(p, 0, p.size), left: p.size, limits: s.limits, w: w}
}
