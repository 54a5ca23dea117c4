package cli

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"mbk/internal/cli/options"
	"mbk/internal/consolidate"
	"mbk/internal/hint"
	"mbk/internal/input/bytesize"
	"mbk/internal/restore"
	"mbk/internal/tablerestore"
	"mbk/internal/transfer"
	"mbk/internal/ui"
	"mbk/internal/verify"
)

// This file holds the options that restore, verify and extract share.

// serverProgram holds the options for the mariadbd that recovers files.
type serverProgram struct {
	path   string
	args   []string
	memory string
}

func (o *serverProgram) bind(s *options.Set) {
	s.String(&o.path, "mariadbd", "",
		"recover with the server program `FILE` (default: the source's, else one in the usual places)")
	s.Strings(&o.args, "mariadbd-option", "give it a further `OPTION`, such as those of a key plugin; may be repeated")
	s.String(&o.memory, "use-memory", "",
		"recover with a buffer pool of `SIZE`, such as 4GiB "+
			"(default: what the redo log asks for, 128 MiB to 1 GiB, or down to 64 MiB if memory is short)")
}

// bufferPool returns the size of the buffer pool for recovery, 0 for the default.
func (o *serverProgram) bufferPool() (int64, error) {
	if o.memory == "" {
		return 0, nil
	}
	n, err := bytesize.Parse(o.memory)
	if err == nil && n < restore.MinMemory {
		err = fmt.Errorf("%q is not a size of 64MiB or more, such as 4GiB", o.memory)
	}
	if err != nil {
		return 0, usagef("%s %v", hint.Option("use-memory"), err)
	}
	return n, nil
}

// preparation returns the options that restore, verify and extract share, but the
// repository.
func preparation(server serverProgram, id string, threads int) (o restore.Preparation, err error) {
	memory, err := server.bufferPool()
	if err != nil {
		return o, err
	}
	return restore.Preparation{
		ID: id, Tool: tool(), Workers: threads, Mariadbd: server.path, MariadbdArgs: server.args, Memory: memory,
	}, nil
}

// preparationFrom opens the repository as well.
func preparationFrom(
	ctx context.Context, from repository, server serverProgram, id string, threads int,
) (o restore.Preparation, err error) {
	if o, err = preparation(server, id, threads); err != nil {
		return o, err
	}
	o.Repository, err = from.open(ctx)
	return o, err
}

// showProgress shows the progress of work with these options. The caller calls End.
func showProgress(u *ui.UI, o *restore.Preparation) ui.Progress {
	shown, phase := u.NewProgress(), ""
	o.OnProgress = func(p restore.Progress) {
		if p.Phase != phase {
			phase = p.Phase
			shown.Step(phaseName(phase))
		}
		if p.Text != "" {
			shown.Note(p.Text)
			return
		}
		if phase != verify.PhaseCheck {
			shown.At(p.Done, p.Total)
		}
	}
	return shown
}

// phaseName describes a phase.
func phaseName(phase string) string {
	switch phase {
	case consolidate.PhaseMerge:
		return "putting the newer layers together"
	case consolidate.PhaseCopy:
		return "copying what they do not hold"
	case transfer.PhaseCopy:
		return "copying"
	case transfer.PhaseReceive:
		return "receiving"
	case verify.PhaseStored:
		return "reading all objects"
	case verify.PhasePages:
		return "checking all pages"
	case restore.PhaseExtract:
		return "extracting"
	case restore.PhaseRecover:
		return "mariadbd applies the redo log"
	case restore.PhaseDrop:
		return "mariadbd drops what does not belong there"
	case restore.PhaseUpgrade:
		return "mariadb-upgrade brings the tables to the newer series"
	case verify.PhaseCheck:
		return "mariadbd checks all tables"
	case verify.PhaseRows:
		return "counting rows"
	case restore.PhasePlace:
		return "syncing and placing"
	case tablerestore.PhaseImport:
		return "bringing tables into the running server"
	case tablerestore.PhaseSwap:
		return "giving them their names"
	}
	return phase
}

// parseOwner parses USER[:GROUP], names or numbers. It returns nil for "".
func parseOwner(text string) (*restore.Owner, error) {
	if text == "" {
		return nil, nil
	}
	name, group, hasGroup := strings.Cut(text, ":")
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, usagef("%s: no user %q on this machine", hint.Option("owner"), name)
		}
	}
	gid := u.Gid
	if hasGroup {
		g, err := user.LookupGroup(group)
		if err != nil {
			if g, err = user.LookupGroupId(group); err != nil {
				return nil, usagef("%s: no group %q on this machine", hint.Option("owner"), group)
			}
		}
		gid = g.Gid
	}
	var o restore.Owner
	var errs [2]error
	o.UID, errs[0] = strconv.Atoi(u.Uid)
	o.GID, errs[1] = strconv.Atoi(gid)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, usagef("%s %q: %v", hint.Option("owner"), text, err)
	}
	return &o, nil
}
