package s3

import (
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/store"
)

// Options say how to reach a bucket and how to write to it. The zero value is AWS with
// the credentials that its own programs would find. Where a field is "", the variable
// counts that the programs of AWS read, too.
type Options struct {
	Endpoint  string // URL or host[:port] of the store; $AWS_ENDPOINT_URL_S3, $AWS_ENDPOINT_URL, else AWS
	AllowHTTP bool   // the endpoint may be http://, without TLS
	Region    string // $AWS_REGION, $AWS_DEFAULT_REGION, else what AWS answers, and us-east-1 elsewhere
	Style     string // how a bucket is addressed: StyleAuto, StylePath or StyleVirtual
	CAFile    string // PEM certificates to trust besides those of the system; $AWS_CA_BUNDLE

	Profile         string // of the credentials, and of no other source then; $AWS_PROFILE, else "default"
	CredentialsFile string // instead of ~/.aws/config and ~/.aws/credentials

	StorageClass string // such as STANDARD_IA; "" is the bucket's default
	Encryption   string // by the store: EncryptionAES256, EncryptionKMS, "" as the bucket has it
	KMSKey       string // id of the key for EncryptionKMS, "" for the account's own
	Checksum     string // that each part is sent with: ChecksumCRC32C (the default), ChecksumMD5 or ChecksumNone
	PartSize     int64  // bytes of a part; 0 is 16 MiB

	RetainFor  time.Duration          // objects cannot be removed for so long, by Object Lock; 0: they can
	RetainMode string                 // RetainGovernance (the default) or RetainCompliance
	Retained   func(name string) bool // of which objects that is so
}

// Modes of Object Lock.
const (
	RetainGovernance = "governance" // who has a special permission can remove objects nevertheless
	RetainCompliance = "compliance" // nobody can
)

// mostRetained is as long as S3 retains objects.
const mostRetained = 100 * 365 * 24 * time.Hour

// How a bucket is addressed.
const (
	StyleAuto    = "auto"    // virtual with AWS and some others that are known, else path
	StylePath    = "path"    // https://ENDPOINT/BUCKET/KEY
	StyleVirtual = "virtual" // https://BUCKET.ENDPOINT/KEY
)

// Encryption by the store.
const (
	EncryptionAES256 = "AES256"
	EncryptionKMS    = "aws:kms"
)

// Checksums of parts on their way to the store.
const (
	ChecksumCRC32C = "crc32c"
	ChecksumMD5    = "md5"
	ChecksumNone   = "none"
)

// Sizes of parts that S3 allows, in bytes. The largest would need that much memory for
// each object that is being written.
const (
	MinPartSize     = 5 << 20
	MaxPartSize     = 1 << 30
	defaultPartSize = 16 << 20
)

// optionError is a mistake in the options or in the URL of a store.
type optionError struct{ error }

// Unwrap returns the mistake.
func (e *optionError) Unwrap() error { return e.error }

// Fault says that the call must be changed.
func (e *optionError) Fault() fault.Kind { return fault.Config }

func wrongf(format string, args ...any) error { return &optionError{hint.Errorf(format, args...)} }

// ParseURL takes a URL apart: s3://BUCKET or s3://BUCKET/PREFIX. The prefix is returned
// with a "/" at its end, or as "". Its elements are those of the name of an object. The
// error does not repeat a URL that may contain a password.
func ParseURL(text string) (bucket, prefix string, err error) {
	rest, found := strings.CutPrefix(text, "s3://")
	if !found {
		return "", "", wrongf("%q is no URL of the form s3://BUCKET/PREFIX", text)
	}
	if strings.ContainsAny(rest, "@?#") {
		return "", "", hint.Wrap(wrongf("the URL of an S3 repository has more in it than a bucket and a prefix"),
			"write s3://BUCKET/PREFIX; credentials belong into the environment or into a file, and options stand beside it")
	}
	bucket, prefix, _ = strings.Cut(rest, "/")
	if err := s3utils.CheckValidBucketNameStrict(bucket); err != nil {
		return "", "", hint.Wrap(wrongf("%q: %q is no name of a bucket: %v", text, bucket, err),
			"write s3://BUCKET/PREFIX; the address of the store is for "+hint.Option("s3-endpoint"))
	}
	if prefix = strings.TrimSuffix(prefix, "/"); prefix == "" {
		return bucket, "", nil
	}
	if err := store.CheckName(prefix); err != nil {
		return "", "", wrongf("%q: the prefix %q has characters that mbk does not use: %v", text, prefix, err)
	}
	return bucket, prefix + "/", nil
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	if err := o.validateEndpoint(); err != nil {
		return err
	}
	for _, c := range []struct {
		option, value string
		known         []string
	}{
		{"s3-addressing-style", o.Style, []string{StyleAuto, StylePath, StyleVirtual}},
		{"s3-sse", o.Encryption, []string{EncryptionAES256, EncryptionKMS}},
		{"s3-checksum", o.Checksum, []string{ChecksumCRC32C, ChecksumMD5, ChecksumNone}},
	} {
		if !oneOf(c.value, c.known) {
			return wrongf("%s %q is none of %s", hint.Option(c.option), c.value, strings.Join(c.known, ", "))
		}
	}
	if o.KMSKey != "" && o.Encryption != EncryptionKMS {
		return wrongf("%s needs %s=%s", hint.Option("s3-sse-kms-key-id"), hint.Option("s3-sse"), EncryptionKMS)
	}
	if err := o.validateRetention(); err != nil {
		return err
	}
	if o.PartSize != 0 && (o.PartSize < MinPartSize || o.PartSize > MaxPartSize) {
		return wrongf("%s is %d bytes, want 5MiB to 1GiB", hint.Option("s3-part-size"), o.PartSize)
	}
	return nil
}

func (o Options) validateRetention() error {
	switch {
	case !oneOf(o.RetainMode, []string{RetainGovernance, RetainCompliance}):
		return wrongf("%s %q is neither %s nor %s", hint.Option("object-lock-mode"), o.RetainMode, RetainGovernance,
			RetainCompliance)
	case o.RetainFor < 0 || o.RetainFor > mostRetained:
		return wrongf("%s is longer than 100 years", hint.Option("object-lock"))
	case o.RetainFor > 0 && o.Checksum == ChecksumNone:
		return hint.Wrap(wrongf("%s needs a checksum with each write", hint.Option("object-lock")),
			"set "+hint.Option("s3-checksum")+" to crc32c or md5")
	}
	return nil
}

// oneOf reports whether value is "" or one of those known.
func oneOf(value string, known []string) bool {
	for _, k := range known {
		if value == k {
			return true
		}
	}
	return value == ""
}

func (o Options) validateEndpoint() error {
	u, err := url.Parse(o.endpoint())
	switch {
	case err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "":
		return hint.Wrap(wrongf("the address of the S3 store is not HOST, HOST:PORT or https://HOST:PORT"),
			"correct "+hint.Option("s3-endpoint")+" or $AWS_ENDPOINT_URL")
	case u.Scheme == "http" && !o.AllowHTTP:
		return hint.Wrap(wrongf("%s is not encrypted: whoever sees the network could read and change backups", u),
			"use https://, or allow it with "+hint.Option("s3-allow-http")+" within a network that you trust")
	case u.Scheme != "http" && u.Scheme != "https":
		return wrongf("the address %s of the S3 store is neither https:// nor http://", u)
	}
	return nil
}

// endpoint is the URL of the store.
func (o Options) endpoint() string {
	text := first(o.Endpoint, os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), "s3.amazonaws.com")
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	return text
}

// host is the part of the endpoint without its scheme, and whether it speaks TLS.
func (o Options) host() (host string, secure bool) {
	scheme, rest, _ := strings.Cut(o.endpoint(), "://")
	return strings.TrimRight(rest, "/"), scheme == "https"
}

// region is the region that requests are signed for, "" if AWS is to be asked.
func (o Options) region() string {
	region := first(o.Region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	if u, err := url.Parse(o.endpoint()); region == "" && (err != nil || !s3utils.IsAmazonEndpoint(*u)) {
		return "us-east-1"
	}
	return region
}

func (o Options) lookup() minio.BucketLookupType {
	switch o.Style {
	case StylePath:
		return minio.BucketLookupPath
	case StyleVirtual:
		return minio.BucketLookupDNS
	}
	return minio.BucketLookupAuto
}

func (o Options) encryption() encrypt.ServerSide {
	switch o.Encryption {
	case EncryptionAES256:
		return encrypt.NewSSE()
	case EncryptionKMS:
		sse, _ := encrypt.NewSSEKMS(o.KMSKey, nil) // fails only with a context
		return sse
	}
	return nil
}

// firstPart is the size of the first part of an object in bytes. Of many objects that are
// sent at once it is half as much, because a part of each is in memory.
func (o Options) firstPart(objects int) int64 {
	size := o.PartSize
	if size == 0 {
		size = defaultPartSize
	}
	if objects > mostParts {
		size = max(size/2, MinPartSize)
	}
	return size
}

// partSize is the size of part n, from 1, in bytes. It is the same for the first 1000,
// because some stores want that, and then doubles with each thousand: 10,000 parts, of
// which no store takes more, are 4.8 TiB at least.
func partSize(first int64, n int) int64 {
	const maxPart = 5 << 30 // of S3
	return min(first<<((n-1)/1000), maxPart)
}

// first is the first text that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
