package main

import (
	"context"
	"path/filepath"

	"mbk/internal/test/s3test"
)

// Contenders beside an object store.
const (
	intoFolder = "mbk into a folder"
	fromFolder = "mbk from a folder"
	byRclone   = "mariadb-backup | zstd | rclone rcat"
)

// storeRepository is where mbk backs up in an object store.
const storeRepository = "s3://" + s3test.Bucket + "/bench"

// storeArgs are the options of that repository.
func storeArgs(s *s3test.Server) []string {
	return []string{"--s3-endpoint", s.Endpoint(), "--s3-allow-http", "--s3-credentials-file", s.CredentialsFile}
}

// withStore runs an object store in a folder for as long as run takes.
func withStore(
	ctx context.Context, dir string, run func(s *s3test.Server) (figures, error),
) (figures, error) {
	s, err := s3test.Run(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer s.Kill()
	return run(s)
}

// storeBackup is mbk's backup into an object store.
func (x *caseRun) storeBackup(codec string, more ...string) contender {
	return contender{"mbk", func(ctx context.Context, dir string) (figures, error) {
		return withStore(ctx, dir, func(s *s3test.Server) (figures, error) {
			backup := append(append(x.mbkBackup(codec, storeRepository), storeArgs(s)...), more...)
			return backedUp(dir, func() (usage, error) { return pipe(ctx, "", backup) })
		})
	}}
}

// intoStore compares a backup into an object store on this machine with one into a folder,
// and with what stands for it with mariadb-backup.
func intoStore(codec string) func(x *caseRun) []contender {
	return func(x *caseRun) []contender {
		return []contender{
			x.storeBackup(codec),
			{intoFolder, func(ctx context.Context, dir string) (figures, error) {
				return backedUp(dir, func() (usage, error) { return pipe(ctx, "", x.mbkBackup(codec, dir)) })
			}},
			{byRclone, func(ctx context.Context, dir string) (figures, error) {
				return withStore(ctx, dir, func(s *s3test.Server) (figures, error) {
					_, programs := x.peerBackup(codec, dir)
					// Debian's rclone fails if there is a bundle of certificates for AWS.
					upload := []string{"env", "-u", "AWS_CA_BUNDLE", "rclone", "--config", "/dev/null", "rcat", "--s3-provider",
						"Other", "--s3-no-check-bucket", "--s3-endpoint", s.Endpoint(), "--s3-access-key-id", s3test.AccessKey,
						"--s3-secret-access-key", s3test.SecretKey, ":s3:" + s3test.Bucket + "/backup.zst"}
					return backedUp(dir, func() (usage, error) { return pipe(ctx, "", append(programs, upload)...) })
				})
			}},
		}
	}
}

// intoStoreWide is a backup with many threads and parts of 16 MiB, for what it takes of
// memory.
func intoStoreWide(x *caseRun) []contender {
	return []contender{x.storeBackup("zstd", "--threads", "16", "--s3-part-size", "16MiB")}
}

// storeBefore takes a backup into a folder, and one into an object store.
func storeBefore(ctx context.Context, x *caseRun) error {
	if err := verifyBefore(ctx, x); err != nil {
		return err
	}
	dir, err := x.folder()
	if err != nil {
		return err
	}
	x.store = dir
	_, err = withStore(ctx, dir, func(s *s3test.Server) (figures, error) {
		_, err := pipe(ctx, "", append(x.mbkBackup("zstd", storeRepository), storeArgs(s)...))
		return nil, err
	})
	return err
}

// fromStore compares restores from an object store and from a folder.
func fromStore(x *caseRun) []contender {
	return []contender{
		{"mbk", func(ctx context.Context, dir string) (figures, error) {
			return withStore(ctx, x.store, func(s *s3test.Server) (figures, error) {
				u, err := pipe(ctx, "", x.mbkRestore(storeRepository, filepath.Join(dir, "data"), storeArgs(s)...))
				return u.figures(), err
			})
		}},
		{fromFolder, func(ctx context.Context, dir string) (figures, error) {
			u, err := pipe(ctx, "", x.mbkRestore(x.fromMbk, filepath.Join(dir, "data")))
			return u.figures(), err
		}},
	}
}
