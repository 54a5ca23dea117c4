package s3

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// Time-outs of what hands out credentials. Where there is no metadata service, its
// address often answers nothing at all.
const (
	metadataConnect = time.Second
	metadataAnswer  = 5 * time.Second
	sourceLimit     = 30 * time.Second // for a program, or a service elsewhere
)

// source is one place where credentials may be.
type source struct {
	name     string // for messages
	provider credentials.Provider
}

// sources looks for credentials in several places and uses the first that has some.
// The credentials package serializes its calls.
type sources struct {
	all     []source
	current credentials.Provider // where the last ones came from
}

// credentials returns where the credentials are looked for: what Options names, or the
// environment, the shared files, and the service that the platform provides.
func (o Options) credentials() (*credentials.Credentials, error) {
	file := source{o.filesName(), &credentials.FileAWSCredentials{Filename: o.CredentialsFile, Profile: o.Profile}}
	if o.CredentialsFile != "" {
		if _, err := os.Stat(o.CredentialsFile); err != nil {
			return nil, hint.Wrap(wrongf("%s: %w", hint.Option("s3-credentials-file"), err),
				"name a file with aws_access_key_id and aws_secret_access_key in it")
		}
	}
	if o.Profile != "" || o.CredentialsFile != "" {
		return credentials.New(&sources{all: []source{file}}), nil
	}
	all := []source{{"$AWS_ACCESS_KEY_ID with $AWS_SECRET_ACCESS_KEY", &credentials.EnvAWS{}}, file}
	platform := &credentials.IAM{Client: &http.Client{
		Timeout: metadataAnswer,
		Transport: &http.Transport{ // without a proxy: the services are next to this machine, or TLS
			DialContext:         (&net.Dialer{Timeout: metadataConnect}).DialContext,
			TLSHandshakeTimeout: metadataAnswer,
		},
	}}
	switch {
	case os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		all = append(all, source{"the token in $AWS_WEB_IDENTITY_TOKEN_FILE", platform})
	case os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "", os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "":
		all = append(all, source{"the container's service in $AWS_CONTAINER_CREDENTIALS_...", platform})
	case !strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true"):
		all = append(all, source{"the metadata service of EC2", platform})
	}
	return credentials.New(&sources{all: all}), nil
}

// filesName describes the files of a profile.
func (o Options) filesName() string {
	profile := first(o.Profile, os.Getenv("AWS_PROFILE"), "default")
	if o.CredentialsFile != "" {
		return fmt.Sprintf("profile %q in %s", profile, o.CredentialsFile)
	}
	return fmt.Sprintf("profile %q in %s and %s", profile,
		first(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), "~/.aws/credentials"),
		first(os.Getenv("AWS_CONFIG_FILE"), "~/.aws/config"))
}

// RetrieveWithCredContext asks one source after another. A source that does not answer in
// time is left behind: nothing can end a program that it has started.
func (s *sources) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	missing := &credentialsError{}
	for _, one := range s.all {
		v, err := retrieve(one.provider, cc)
		if err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
			s.current = one.provider
			return v, nil
		}
		missing.tried = append(missing.tried, one.name+": "+whyNone(err))
	}
	return credentials.Value{}, missing
}

// retrieve asks a provider, for sourceLimit at most.
func retrieve(p credentials.Provider, cc *credentials.CredContext) (credentials.Value, error) {
	type result struct {
		value credentials.Value
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := p.RetrieveWithCredContext(cc)
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-time.After(sourceLimit):
		return credentials.Value{}, fmt.Errorf("no answer within %v", sourceLimit)
	}
}

// whyNone says in a few words why a source has no credentials. It repeats only messages
// that are known to have no part of a file or of an answer in them, which could be secret.
func whyNone(err error) string {
	var network net.Error
	switch {
	case err == nil:
		return "not set"
	case errors.Is(err, os.ErrNotExist):
		return "no such file"
	case errors.Is(err, os.ErrPermission):
		return "may not be read"
	case errors.As(err, &network) && network.Timeout():
		return "no answer"
	case errors.As(err, &network):
		return "not reachable"
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	for _, known := range []string{"section ", "profile ", "exec: ", "exit status ", "no answer ", "40", "50"} {
		if strings.HasPrefix(text, known) {
			return text[:min(len(text), 200)]
		}
	}
	return "cannot be used"
}

// Retrieve is for old callers.
func (s *sources) Retrieve() (credentials.Value, error) {
	return s.RetrieveWithCredContext(&credentials.CredContext{Client: http.DefaultClient})
}

// IsExpired reports whether there are no credentials that are still good.
func (s *sources) IsExpired() bool { return s.current == nil || s.current.IsExpired() }

// credentialsError says where credentials were looked for.
type credentialsError struct{ tried []string }

// Error names the sources.
func (e *credentialsError) Error() string {
	return "no credentials found; tried " + strings.Join(e.tried, "; ")
}

// Fault says that the surroundings must be changed.
func (e *credentialsError) Fault() fault.Kind { return fault.Config }

// Hints says where to put credentials.
func (e *credentialsError) Hints() []hint.Text {
	return []hint.Text{"put them into a file that only mbk's user can read, and name it with " +
		hint.Option("s3-credentials-file") + ", or set $AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY"}
}
