package main

import (
	"context"

	"mbk/internal/test/s3test"
)

// intoFolder is a contender that does the same with a folder.
const intoFolder = "mbk into a folder"

// intoStore compares a backup into an object store on this machine with one into a folder.
func intoStore(codec string) func(x *caseRun) []contender {
	return func(x *caseRun) []contender {
		return []contender{
			{"mbk", func(ctx context.Context, dir string) (figures, error) {
				s, err := s3test.Run(ctx, dir)
				if err != nil {
					return nil, err
				}
				defer s.Kill()
				backup := append(x.mbkBackup(codec, "s3://"+s3test.Bucket+"/bench"), "--s3-endpoint", s.Endpoint(),
					"--s3-allow-http", "--s3-credentials-file", s.CredentialsFile)
				return backedUp(dir, func() (usage, error) { return pipe(ctx, "", backup) })
			}},
			{intoFolder, func(ctx context.Context, dir string) (figures, error) {
				return backedUp(dir, func() (usage, error) { return pipe(ctx, "", x.mbkBackup(codec, dir)) })
			}},
		}
	}
}
