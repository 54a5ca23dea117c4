package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/store"
	"mbk/internal/sys/pause"
)

// retry makes a request again, with growing pauses, until it succeeds, cannot succeed, or
// has failed for as long as patience. When that was so once, the patience is that of the
// opening until a request succeeds: a store that is gone is not waited for again and again.
func (s *Store) retry(ctx context.Context, patience time.Duration, request func(ctx context.Context) error) error {
	if s.gone.Load() {
		patience = min(patience, s.limits.opening)
	}
	var since time.Time
	var last error
	for wait := s.limits.pause; ; wait = min(2*wait, s.limits.longest) {
		if ctx.Err() != nil {
			return ended(ctx, last)
		}
		err := request(ctx)
		switch {
		case err == nil:
			s.gone.Store(false)
			return nil
		case ctx.Err() != nil:
			return ended(ctx, last)
		case !mayPass(err):
			return err
		case !since.IsZero() && time.Since(since) > patience:
			s.gone.Store(true)
			return err
		case since.IsZero():
			since = time.Now()
		}
		if answer, ok := answerOf(err); ok && strings.HasPrefix(answer.Code, "ExpiredToken") {
			s.creds.Expire()
		}
		last = err
		_ = pause.For(ctx, wait/2+rand.N(wait)) // the next round asks ctx
	}
}

// ended returns the error of a context that has ended, with what went wrong before that.
func ended(ctx context.Context, before error) error {
	if before == nil {
		return ctx.Err()
	}
	text := before.Error()
	return fmt.Errorf("%w after %s", ctx.Err(), text[:min(len(text), mostText)])
}

// answerOf returns what the store answered, if it answered at all.
func answerOf(err error) (minio.ErrorResponse, bool) {
	var answer minio.ErrorResponse
	return answer, errors.As(err, &answer)
}

// mayPass reports whether the same request may succeed later.
func mayPass(err error) bool {
	for _, final := range []error{errWrongAnswer, errEnough, fs.ErrNotExist} {
		if errors.Is(err, final) {
			return false
		}
	}
	if isUntrusted(err) || speaksHTTP(err) || fault.Of(err) == fault.Config {
		return false
	}
	answer, answered := answerOf(err)
	if !answered {
		return true // the connection
	}
	switch answer.Code {
	case "SlowDown", "SlowDownWrite", "SlowDownRead", "Throttling", "ThrottlingException", "RequestLimitExceeded",
		"RequestTimeout", "InternalError", "ServiceUnavailable", "ExpiredToken", "ExpiredTokenException",
		"BadDigest", "IncompleteBody", "OperationAborted", "ConditionalRequestConflict":
		return true
	}
	switch answer.StatusCode {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage:
		return false
	}
	return answer.StatusCode >= http.StatusInternalServerError
}

// errWrongAnswer is an answer that no store should give.
var errWrongAnswer = errors.New("the store gave a wrong answer")

// isMissing reports whether the store answered that there is no such object.
func isMissing(err error) bool {
	answer, ok := answerOf(err)
	return ok && (answer.Code == minio.NoSuchKey || answer.Code == "NotFound")
}

// isRefused reports whether a conditional request was refused because of its condition.
func isRefused(err error) bool {
	answer, ok := answerOf(err)
	return ok && answer.StatusCode == http.StatusPreconditionFailed
}

// isUntrusted reports whether the store's certificate is not trusted.
func isUntrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	return errors.As(err, &verification) || errors.As(err, &authority)
}

// speaksHTTP reports whether the other end does not speak TLS.
func speaksHTTP(err error) bool {
	return err != nil && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// Error is what went wrong with a request to the store. It wraps nothing of the network's:
// a connection that was cut says nothing about the object.
type Error struct {
	What string // what was tried: "read backups/x/label.json"
	Code string // the store's: "AccessDenied"; "" if it did not answer
	text string
	kind fault.Kind
	hint hint.Text // "": none
}

// Error says what was tried and what the store answered.
func (e *Error) Error() string { return e.What + ": " + e.text }

// Fault is Config for what has to be changed before another try, and else Failed.
func (e *Error) Fault() fault.Kind { return e.kind }

// Hints says what to look at.
func (e *Error) Hints() []hint.Text {
	if e.hint == "" {
		return nil
	}
	return []hint.Text{e.hint}
}

// mostText bounds what is told of a store's message, in bytes.
const mostText = 300

// explain makes an error of what a request has ended with. It wraps the end of a context,
// fs.ErrNotExist, fs.ErrExist and store.ErrName, and leaves alone what is explained
// already.
func (s *Store) explain(what string, err error) error {
	var explained *Error
	var names *optionError
	var missing *credentialsError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, fs.ErrNotExist),
		errors.Is(err, fs.ErrExist), errors.Is(err, store.ErrName):
		return fmt.Errorf("%s: %w", what, err)
	case errors.As(err, &explained), errors.As(err, &names), errors.As(err, &missing):
		return err
	}
	e := &Error{What: what + " in " + s.String(), text: err.Error(), kind: fault.Failed}
	answer, answered := answerOf(err)
	if answered {
		e.Code, e.text = answer.Code, answer.Code+": "+answer.Error()
	}
	e.text = strings.TrimRight(e.text[:min(len(e.text), mostText)], ". ")
	if full := fullness(answer); full != nil {
		return &store.NoSpaceError{Where: s.String(), Err: fmt.Errorf("%s: %w", e.text, full)}
	}
	e.advise(err, answered, answer.StatusCode)
	return e
}

// fullness returns what kind of full a store is that gave an answer, nil if it is not.
func fullness(answer minio.ErrorResponse) error {
	switch {
	case strings.Contains(answer.Code, "QuotaExceeded"), answer.Code == "QuotaExceededError":
		return syscall.EDQUOT
	case answer.StatusCode == http.StatusInsufficientStorage, strings.Contains(answer.Code, "StorageFull"):
		return syscall.ENOSPC
	}
	return nil
}

// advise sets what to do about an error, and its kind.
func (e *Error) advise(err error, answered bool, status int) {
	const permissions = "; mbk needs s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, " +
		"s3:ListBucketMultipartUploads and s3:AbortMultipartUpload"
	switch {
	case isUntrusted(err):
		e.config("name the certificate of whoever signed that of the store with " + hint.Option("s3-ca-file"))
	case speaksHTTP(err):
		e.config("the store speaks no TLS at that port: correct " + hint.Option("s3-endpoint") +
			", or write http:// and allow it with " + hint.Option("s3-allow-http"))
	case !answered:
		e.hint = "check " + hint.Option("s3-endpoint") + " and the network; nothing is known to be wrong with the repository"
	case e.Code == "AccessDenied", e.Code == "AllAccessDisabled", status == http.StatusForbidden && e.Code == "":
		e.config("check the credentials and what they allow with this bucket" + permissions)
	case e.Code == "InvalidAccessKeyId", e.Code == "SignatureDoesNotMatch", e.Code == "InvalidTokenId",
		e.Code == "InvalidToken", e.Code == "XAdminUserNotFound": // the last one is versitygw's
		e.config("check the credentials: $AWS_ACCESS_KEY_ID, " + hint.Option("s3-profile") + ", " +
			hint.Option("s3-credentials-file"))
	case e.Code == minio.NoSuchBucket:
		e.config("make the bucket, or correct " + hint.Option("repo") + " or " + hint.Option("s3-endpoint"))
	case e.Code == "RequestTimeTooSkewed":
		e.config("set the clock of this machine; S3 allows a difference of 15 minutes")
	case e.Code == "PermanentRedirect", e.Code == "AuthorizationHeaderMalformed", e.Code == "InvalidRegion",
		status == http.StatusMovedPermanently:
		e.config("name the bucket's region with " + hint.Option("s3-region"))
	case e.Code == "NotImplemented", status == http.StatusNotImplemented, e.Code == "XAmzContentSHA256Mismatch",
		e.Code == "InvalidArgument", e.Code == "InvalidRequest":
		e.hint = "the store may lack something that mbk uses: try " + hint.Option("s3-checksum") + "=md5 or none; " +
			"the manual's page on object stores says more"
	}
}

// config marks an error that has to be corrected outside of mbk.
func (e *Error) config(advice hint.Text) { e.kind, e.hint = fault.Config, advice }
