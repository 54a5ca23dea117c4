package preflight

import (
	"context"
	"fmt"
	"path/filepath"

	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/stage"
)

// checkSource makes sure that the repository holds backups of this server only. Backups of
// two servers in one repository would be taken for those of one: the newest would be
// restored whichever server it is of, and expiry would count both together.
func (r *Report) checkSource(ctx context.Context, o Options) error {
	if o.Repository == nil {
		return nil
	}
	control, err := r.Layout.ReadAriaControl()
	if err != nil {
		return err
	}
	list, err := o.Repository.List(ctx)
	if err != nil {
		return err
	}
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].DataUUID == "" {
			continue // its record is lost
		}
		r.compareSource(&list[i].Attempt, control.UUID.String(), o)
		break
	}
	return nil
}

// compareSource compares this server with the one of a backup. A data directory has
// its own id (Aria's), which its copies keep, whether the server has moved with it or was
// set up from a backup. Copies that replicate have different server ids.
func (r *Report) compareSource(last *repo.Attempt, uuid string, o Options) {
	sameData, sameID := last.DataUUID == uuid, last.ServerID == r.Facts.ServerID
	samePlace := last.Hostname == r.Facts.Hostname && filepath.Clean(last.Datadir) == filepath.Clean(r.Facts.Datadir)
	newest := fmt.Sprintf("the newest backup, %s, is of %s", last.ID, placeOf(last.Hostname, last.Datadir, last.ServerID))
	if last.Encrypted { // where it was is not known
		newest = fmt.Sprintf("the newest backup, %s, is of a server with server_id %d", last.ID, last.ServerID)
	}
	switch {
	case sameData && (samePlace || last.Encrypted && sameID):
		return
	case samePlace:
		r.Add("repository", GradeWarning, newest+", but the data directory has been created again since")
	case sameData && sameID:
		r.Add("repository", GradeWarning, fmt.Sprintf("%s: this server, %s, has moved from there, or is a copy", newest,
			here(r.Facts)),
			"if it is a copy, give it its own repository")
	case o.NewServer:
		r.Add("repository", GradeWarning, fmt.Sprintf("%s; from now on the repository is for %s", newest, here(r.Facts)))
	case sameData:
		r.Add("repository", GradeError, fmt.Sprintf("%s, of which this server, %s, is a copy", newest, here(r.Facts)),
			newServerHints()...)
	default:
		r.Add("repository", GradeError, fmt.Sprintf("%s, which is another server than this, %s", newest, here(r.Facts)),
			newServerHints()...)
	}
}

func newServerHints() []hint.Text {
	return []hint.Text{
		"give each server its own repository",
		"if this server has taken the place of that one, say so once: " + hint.Option("new-server"),
	}
}

// here identifies this server for a message.
func here(f stage.Facts) string { return placeOf(f.Hostname, f.Datadir, f.ServerID) }

func placeOf(hostname, datadir string, id uint32) string {
	return fmt.Sprintf("%s:%s (server_id %d)", hostname, filepath.Clean(datadir), id)
}
