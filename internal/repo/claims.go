package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// claims says which folders without a label belong to a backup that has continued on the
// attempts that left them.
type claims struct {
	named map[string]map[string]bool // objects that labels name, by the id of the folder
	by    map[string]string          // a backup that names objects in it, by the id of the folder

	// Of some backups neither label nor manifest can be read: any attempt that was begun
	// before one of them ended may belong to it.
	unread      string // such a backup
	unreadUntil time.Time
}

// maybe returns the backup to which the folder of an attempt belongs, or may belong; "" if
// it belongs to none.
func (c *claims) maybe(id string) string {
	if by := c.by[id]; by != "" {
		return by
	}
	if started, _, err := ParseID(id); c.unread != "" && (err != nil || !started.After(c.unreadUntil)) {
		return c.unread
	}
	return ""
}

// sure reports whether all is known of who names objects in the folder of an attempt.
func (c *claims) sure(id string) bool {
	started, _, err := ParseID(id)
	return c.unread == "" || err == nil && started.After(c.unreadUntil)
}

// add notes the objects of a backup.
func (c *claims) add(id string, objects []string) {
	for _, name := range objects {
		owner, base := splitObject(id, name)
		if owner == id {
			continue
		}
		if c.named[owner] == nil {
			c.named[owner] = map[string]bool{}
		}
		c.named[owner][base] = true
		c.by[owner] = id
	}
}

// claims asks the labels of all backups whom the other folders belong to. A label that
// cannot be read is replaced by the manifest.
func (r *Repository) claims(ctx context.Context, folders []stored) (*claims, error) {
	c := &claims{named: map[string]map[string]bool{}, by: map[string]string{}}
	listed := func(f stored) bool { return f.whole || f.err != nil }
	if !slices.ContainsFunc(folders, func(f stored) bool { return !listed(f) }) {
		return c, nil // nobody asks
	}
	objects := make([][]string, len(folders))
	unread := make([]bool, len(folders))
	err := each(ctx, len(folders), func(ctx context.Context, i int) (err error) {
		if f := &folders[i]; listed(*f) {
			objects[i], err = r.namesOf(ctx, f.id)
			unread[i] = errors.Is(err, errUnread)
		}
		if unread[i] {
			r.warn(fmt.Errorf("nobody can tell what backup %s consists of: %w", folders[i].id, err))
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range folders {
		c.add(folders[i].id, objects[i])
		if unread[i] {
			if end := r.endOf(ctx, &folders[i]); end.After(c.unreadUntil) || c.unread == "" {
				c.unread, c.unreadUntil = folders[i].id, end
			}
		}
	}
	return c, nil
}

// errUnread is returned by namesOf if neither label nor manifest can be read.
var errUnread = errors.New("neither its label nor its manifest can be read")

// namesOf returns the names of all objects of a backup, none if it was removed meanwhile.
func (r *Repository) namesOf(ctx context.Context, id string) ([]string, error) {
	l, err := r.Label(ctx, id)
	if err == nil {
		return l.names(), nil
	}
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrDamaged) {
		return nil, nil
	}
	if !lost(err) {
		return nil, err
	}
	m, manifestErr := r.manifest(ctx, id, nil)
	if manifestErr != nil && (lost(manifestErr) || Concealed(manifestErr)) {
		return nil, fmt.Errorf("%w: %w", errUnread, err)
	}
	if manifestErr != nil {
		return nil, manifestErr
	}
	r.warn(err)
	var names []string
	for i := range m.Packs {
		names = append(names, m.Packs[i].Name)
		if owner, _ := splitObject(id, m.Packs[i].Name); owner != id && r.Encrypted() {
			names = append(names, owner+"/"+keyBase)
		}
	}
	return names, nil
}

// endOf returns when a backup of which nothing can be read was finished, at the latest.
func (r *Repository) endOf(ctx context.Context, f *stored) time.Time {
	if a, err := r.attempt(ctx, f.id); err == nil && a.Outcome == OutcomeOK && !a.Finished.IsZero() {
		return a.Finished
	}
	for _, o := range f.objects {
		if o.Name == labelName(f.id) {
			return o.Modified
		}
	}
	return time.Now() // the folder cannot be looked into
}

// namedIn returns the objects that a label names in other folders, by their ids.
func (l *Label) namedIn() map[string]map[string]bool {
	c := &claims{named: map[string]map[string]bool{}, by: map[string]string{}}
	c.add(l.ID, l.names())
	return c.named
}
