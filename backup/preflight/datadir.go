package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mbk/internal/aria"
	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/datadir/filter"
	"mbk/internal/datadir/serverfs"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/sys/fsuser"
	"mbk/stage"
)

// checkDatadir makes sure that the data directory on this machine can be read
// and is the one of the server that we talk to.
func (r *Report) checkDatadir(ctx context.Context, o Options) error {
	dir := o.Datadir
	if dir == "" {
		dir = r.Facts.Variables["datadir"]
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if r.Layout, err = datadir.NewLayout(dir, r.Facts.Variables, r.Facts.Version); err != nil {
		r.Add("datadir", GradeError, err.Error())
		return nil
	}
	if err := r.openFiles(dir); err != nil {
		r.addUnreached(err)
		return nil
	}
	watch, err := o.Server.Watch(ctx)
	if err != nil {
		return err
	}
	defer watch.Close()
	switch err := sameServer(ctx, r.Layout, watch); {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR),
		datadir.IsKindError(err):
		r.addUnreached(err)
	case errors.Is(err, ErrOtherServer):
		r.Add("datadir", GradeError, err.Error(), OtherServerHint())
	case errors.Is(err, innodb.ErrUnknownFormat):
		r.Add("datadir", GradeError, err.Error(), "this mbk backs up MariaDB 10.5 to 11.8")
	case err != nil:
		return err
	default:
		r.Add("datadir", GradeOK, dir+" is the data directory of this server")
	}
	return nil
}

// openFiles opens the access to the server's files, with the rights of its user.
func (r *Report) openFiles(dir string) error {
	user, err := serverfs.UserOf(dir, r.Facts.PeerUser, r.Layout.Redo, filepath.Join(r.Layout.Aria, aria.ControlFile))
	if err != nil {
		return err
	}
	r.Layout.Files, err = serverfs.New(dir, user)
	if err != nil {
		return err
	}
	if err := r.Layout.Files.Do(func(*serverfs.FS) error { return nil }); err != nil {
		return hint.Wrap(err, "root reads the server's files with the rights of the server's user, for which it needs the "+
			"capabilities CAP_SETUID and CAP_SETGID: give them to this process, or run mbk as that user")
	}
	return nil
}

// addUnreached adds that a file which a backup needs cannot be read.
func (r *Report) addUnreached(err error) {
	switch advice := hint.Attached(err); {
	case len(advice) > 0:
		r.Add("datadir", GradeError, err.Error(), advice...)
	case errors.Is(err, fs.ErrPermission):
		r.Add("datadir", GradeError, err.Error(), rightsHint(r.Layout))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		r.Add("datadir", GradeError, err.Error(),
			"run mbk on the server's machine, and name its data directory with "+hint.Option("datadir")+
				" if it is mounted elsewhere")
	default:
		r.Add("datadir", GradeError, err.Error())
	}
}

// rightsHint is advice on files that may not be read.
func rightsHint(l datadir.Layout) hint.Text {
	if l.Files.Other() {
		return hint.Textf("run by root, mbk reads the server's files with the rights of the server's user (%v): give that "+
			"user the file and the way to it, and remove links that lead to what is not the server's", l.Files.User())
	}
	return "run mbk as root or as the user that the server runs as"
}

// ErrOtherServer is the cause of a backup that fails because the data directory
// belongs to another server than the connection.
var ErrOtherServer = fault.New(fault.Config, "is not the data directory of the server that answers")

func OtherServerHint() hint.Text {
	return "check " + hint.Option("datadir") + " and " + hint.Option("socket") + ": they must belong to the same server"
}

// sameServer compares the newest checkpoint in the redo log of the data
// directory with the one that the server reports before and after.
func sameServer(ctx context.Context, l datadir.Layout, watch *stage.Watch) error {
	if err := l.Readable(); err != nil {
		return err
	}
	var first, last, found innodb.LSN
	const tries = 20
	for range tries {
		before, err := watch.LSNs(ctx)
		if err != nil {
			return err
		}
		checkpoint, err := l.ReadCheckpoint()
		if err != nil {
			return fmt.Errorf("redo log %s: %w", l.Redo, err)
		}
		after, err := watch.LSNs(ctx)
		if err != nil {
			return err
		}
		if before.Checkpoint <= checkpoint.LSN && checkpoint.LSN <= after.Checkpoint {
			return nil
		}
		first, last, found = before.Checkpoint, after.Checkpoint, checkpoint.LSN
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s %w: its redo log has checkpoint %d, the server is at %d to %d", l.Dir, ErrOtherServer, found,
		first, last)
}

// checkClosed judges directories that may not be listed. The server cannot list them
// either if it runs as the same user.
func (r *Report) checkClosed(ctx context.Context, o Options) error {
	for _, dir := range r.first.Closed {
		text := fmt.Sprintf("%s: permission denied", path.Join(r.Layout.Dir, dir))
		used, err := o.Server.HasTables(ctx, filename.SQL(dir))
		if err != nil {
			return err
		}
		if used {
			r.Add("datadir", GradeError, text, r.deniedHints(path.Join(r.Layout.Dir, dir))...)
			continue
		}
		r.Add("datadir", GradeWarning, text+"; the server has no table there, and what it holds will not be in the backup",
			r.deniedHints(path.Join(r.Layout.Dir, dir))...)
	}
	return nil
}

// deniedHints is advice on a directory that may not be read. To the user that the
// server runs as it says what root has to do.
func (r *Report) deniedHints(folder string) []hint.Text {
	owner, hints := r.fixOwner(folder)
	if len(hints) > 0 {
		return hints
	}
	hints = []hint.Text{hint.Textf("the server cannot read it either: chown -R %s %s", OwnerName(owner), folder)}
	rel, err := filepath.Rel(r.Layout.Dir, folder)
	if dir, _, _ := strings.Cut(filepath.ToSlash(rel), "/"); err == nil && slices.Contains(r.first.Databases, dir) {
		hints = append(hints, hint.Textf("%s '%s' leaves it out", hint.Option("exclude-database"), filename.SQL(dir)))
	}
	return hints
}

// refusedHints is deniedHints for files that tables need.
func (r *Report) refusedHints(refused []datadir.Entry, files []string) []hint.Text {
	const most = 5
	owner, hints := r.fixOwner(files...)
	if len(hints) > 0 {
		return hints
	}
	command := fmt.Sprintf("chown %s %s", OwnerName(owner), strings.Join(files[:min(most, len(files))], " "))
	if len(files) > most {
		command += " ..."
	}
	what, leave := "them", "leave"
	if len(files) == 1 {
		what, leave = "it", "leaves"
	}
	hints = []hint.Text{hint.Textf("the server cannot read %s either: %s", what, command)}
	var exclude []hint.Text
	for _, e := range refused {
		switch {
		case e.Dir == "mysql":
			return hints // it is in every backup
		case e.Table == "":
			exclude = append(exclude, hint.Textf("%s '%s'", hint.Option("exclude-database"), filename.SQL(e.Dir)))
		default:
			table := filter.Name{Database: filename.SQL(e.Dir), Table: filename.SQL(e.Table)}
			exclude = append(exclude, hint.Textf("%s '%s'", hint.Option("exclude-table"), table))
		}
	}
	slices.Sort(exclude)
	if exclude = slices.Compact(exclude); len(exclude) <= most {
		hints = append(hints, hint.Textf("%s %s %s out", hint.Join(exclude, " "), leave, what))
	}
	return hints
}

// fixOwner returns the user whom the files must belong to for the server to read them. If
// that would not help it returns other advice: who has to run mbk, or which link must go.
func (r *Report) fixOwner(files ...string) (fsuser.User, []hint.Text) {
	owner, err := fsuser.OwnerOf(r.Layout.Dir)
	if me := fsuser.Current().UID; err != nil || me != 0 && me != owner.UID {
		return owner, []hint.Text{rightsHint(r.Layout)}
	}
	for _, file := range files {
		if to, err := r.Layout.Files.Readlink(file); err == nil {
			return owner, []hint.Text{hint.Textf(
				"the server's user (%v) may not read what %s leads to, %s: remove the link, if it is not yours",
				r.Layout.Files.User(), file, to)}
		}
	}
	return owner, nil
}

// OwnerName is a user as chown takes it, by name if there is one.
func OwnerName(u fsuser.User) string {
	name, group := strconv.Itoa(u.UID), strconv.Itoa(u.GID)
	if known, err := user.LookupId(name); err == nil {
		name = known.Username
	}
	if known, err := user.LookupGroupId(group); err == nil {
		group = known.Name
	}
	return name + ":" + group
}
