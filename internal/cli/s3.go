package cli

import (
	"context"
	"strings"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/input/bytesize"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/s3"
)

// s3Options are the options of repositories in a bucket. They count for URLs that begin
// with s3:// only.
type s3Options struct {
	s3.Options
	partSize   string
	objectLock time.Duration
}

func (o *s3Options) bind(s *options.Set) {
	s = s.In(categoryS3)
	s.String(&o.Endpoint, "s3-endpoint", "", "the store is at `URL` (default: $AWS_ENDPOINT_URL, or AWS)")
	s.Bool(&o.AllowHTTP, "s3-allow-http", "the URL may be http://: nothing is encrypted on the way then")
	s.String(&o.Region, "s3-region", "",
		"the bucket is in `REGION` (default: $AWS_REGION, or what AWS says, or us-east-1)")
	s.String(&o.Style, "s3-addressing-style", s3.StyleAuto, "name the bucket in the `PLACE`: path, virtual or auto")
	s.String(&o.CAFile, "s3-ca-file", "", "also trust the authorities in `FILE` (default: $AWS_CA_BUNDLE)")
	s.String(&o.Profile, "s3-profile", "", "take the credentials of `PROFILE` (default: $AWS_PROFILE)")
	s.String(&o.CredentialsFile, "s3-credentials-file", "",
		"take credentials from `FILE` (default: as AWS's own programs)")
	s.String(&o.StorageClass, "s3-storage-class", "",
		"store objects of 16 MiB or more as `CLASS`, such as STANDARD_IA")
	s.String(&o.Encryption, "s3-sse", "",
		"let the store encrypt with `METHOD`, AES256 or aws:kms (default: as the bucket)")
	s.String(&o.KMSKey, "s3-sse-kms-key-id", "", "use the key `ID` for aws:kms (default: the account's)")
	s.String(&o.Checksum, "s3-checksum", s3.ChecksumCRC32C, "send data with the `KIND`: crc32c, md5 or none")
	s.Duration(&o.objectLock, objectLockOption, 0,
		"nobody can remove what a backup stores for `DURATION`, such as 30d, by Object Lock").MoreThanNothing()
	s.String(&o.RetainMode, "object-lock-mode", s3.RetainGovernance,
		"protect it in `MODE`: governance or compliance")
	s.String(&o.partSize, "s3-part-size", "16MiB", "send objects in parts of `SIZE`, 5MiB to 1GiB")
}

// objectLockOption says for how long objects are retained.
const objectLockOption = "object-lock"

// resolve returns the options of the store.
func (o *s3Options) resolve() (s3.Options, error) {
	size, err := bytesize.Parse(o.partSize)
	if err != nil {
		return o.Options, usagef("%s: %w", hint.Option("s3-part-size"), err)
	}
	resolved := o.Options
	resolved.PartSize = size
	resolved.RetainFor, resolved.Retained = o.objectLock, repo.Retainable
	resolved.RetainMode = strings.ToLower(o.RetainMode)
	return resolved, nil
}

// openS3 opens the store in a bucket.
func (o repository) openS3(ctx context.Context) (store.Store, error) {
	resolved, err := o.s3.resolve()
	if err != nil {
		return nil, err
	}
	return s3.Open(ctx, o.path, resolved)
}
