package restore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mbk/internal/mariadbd"
)

// repositoryName is the folder in an inbox that becomes a repository.
const repositoryName = "repository"

// Inbox is a folder beside a target of a restore, for a backup that comes as a stream and is
// to be stored until it is restored. While it is open no other restore into that target
// begins. The next one removes what a process has left that died. The caller closes it.
type Inbox struct{ scratch *scratch }

// NewInbox makes an inbox for the target of a restore. Of the options Repository and ID are
// not needed yet. What can be said against the target before the backup is known is an
// *ObjectionsError.
func NewInbox(o Options) (*Inbox, error) {
	t, objections, err := inspectTarget(o)
	what := "restore into " + o.Target
	if mariadbd.Lacking(err) {
		return nil, err
	}
	if err != nil {
		objections = append(objections, Objection{Problem: err.Error()})
	}
	if err := asError(what, objections); err != nil {
		return nil, err
	}
	busy, err := sweep(t, "")
	if err == nil && len(busy) > 0 {
		err = t.busy(busy[0])
	}
	if err != nil {
		return nil, err
	}
	s, err := makeScratch(t, "stream", time.Now())
	if err != nil {
		return nil, fmt.Errorf("%s: make a folder for the stream: %w", what, err)
	}
	i := &Inbox{s}
	busy, err = sweep(t, filepath.Base(s.dir))
	if err == nil && len(busy) > 0 {
		err = t.busy(busy[0])
	}
	if err == nil {
		err = t.writer.Do(func() error { return os.Mkdir(i.Folder(), 0o700) })
	}
	if err != nil {
		return nil, errors.Join(err, i.Close(false))
	}
	return i, nil
}

// Folder returns the folder that is to become a repository. It is empty at first.
func (i *Inbox) Folder() string { return filepath.Join(i.scratch.dir, repositoryName) }

// name returns the name of the inbox beside the target, "" if there is none.
func (i *Inbox) name() string {
	if i == nil {
		return ""
	}
	return filepath.Base(i.scratch.dir)
}

// Close removes the inbox and all that is in it, or leaves it for a look.
func (i *Inbox) Close(keep bool) error { return i.scratch.clean(keep) }
