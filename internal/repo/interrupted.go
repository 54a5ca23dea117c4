package repo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"mbk/internal/repo/store"
)

// Interrupted is an attempt that ended early and left finished packs, on which the next
// attempt can continue.
type Interrupted struct {
	ID       string
	Last     time.Time  // when its last object was made
	Progress []Progress // one for each of the packs that are there, as they were finished; at least one
}

// Parent returns the parent of the backup that was being made, "" if it was a full one.
func (i *Interrupted) Parent() string { return i.Progress[0].Parent }

// Adopted returns the ids of the interrupted attempts on which it continued, newest first.
func (i *Interrupted) Adopted() []string { return i.Progress[0].Adopted }

// Lineage returns what is known of the server and of all files that it has stored anything
// of. Its End is how far the server's log had got when the last of that was stored.
func (i *Interrupted) Lineage() *Lineage {
	l := i.Progress[0].Lineage
	l.Files = nil
	for n := range i.Progress {
		l.End = max(l.End, i.Progress[n].End)
		l.Files = append(l.Files, i.Progress[n].Files...)
	}
	slices.SortStableFunc(l.Files, func(a, b LineageFile) int { return cmp.Compare(a.Number, b.Number) })
	l.Files = slices.CompactFunc(l.Files, func(a, b LineageFile) bool { return a.Number == b.Number })
	return &l
}

// Interrupted returns the interrupted attempts on which another can continue, the newest
// first: they have no label, belong to no backup, and of those on which they continued
// themselves all is there. The lock must be held, and no attempt be under way.
func (r *Repository) Interrupted(ctx context.Context) ([]Interrupted, error) {
	left, err := r.leftovers(ctx)
	if err != nil {
		return nil, err
	}
	return r.interrupted(ctx, left)
}

// leftovers returns what attempts have left that made no backup and belongs to none, oldest
// first.
func (r *Repository) leftovers(ctx context.Context) ([]stored, error) {
	folders, err := r.folders(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for interrupted attempts: %w", err)
	}
	owned, err := r.claims(ctx, folders)
	if err != nil {
		return nil, fmt.Errorf("look for interrupted attempts: %w", err)
	}
	return owned.leave(folders), nil
}

// leave returns the folders without a label that belong to no backup.
func (c *claims) leave(folders []stored) []stored {
	return slices.DeleteFunc(slices.Clone(folders), func(f stored) bool {
		return f.whole || f.err != nil || c.maybe(f.id) != ""
	})
}

// interrupted is Interrupted for what leftovers has found.
func (r *Repository) interrupted(ctx context.Context, folders []stored) ([]Interrupted, error) {
	var all []Interrupted
	whole := map[string]bool{} // nothing of what these stored has been lost
	for i := range folders {   // the oldest first: an attempt continues on older ones
		f := &folders[i]
		a, complete, err := r.readProgress(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("look for interrupted attempts: %w", err)
		}
		if len(a.Progress) == 0 {
			continue
		}
		lost := slices.IndexFunc(a.Adopted(), func(id string) bool { return !whole[id] })
		if lost >= 0 {
			r.warn(fmt.Errorf("the interrupted attempt %s is of no use: it had continued on %s, of which something is missing",
				a.ID, a.Adopted()[lost]))
			continue
		}
		whole[a.ID] = complete
		all = append(all, a)
	}
	slices.Reverse(all)
	return all, nil
}

// readProgress reads what an attempt has left. complete means that nothing of it is missing.
func (r *Repository) readProgress(ctx context.Context, f *stored) (a Interrupted, complete bool, err error) {
	a, complete = Interrupted{ID: f.id}, true
	sizes := map[string]int64{}
	count := 0
	for _, o := range f.objects {
		_, base := splitObject("", o.Name[len(backupsPrefix):])
		sizes[base] = o.Size
		if isProgress(base) {
			count++
		}
		if o.Modified.After(a.Last) {
			a.Last = o.Modified
		}
	}
	for n := 1; count > 0; n++ {
		if _, there := sizes[progressName(n)]; !there {
			complete = false
			if n > 2*len(f.objects)+100 {
				break // what counts as one has another name
			}
			continue
		}
		count--
		p, err := r.readOneProgress(ctx, f.id, n, sizes)
		if err == nil && len(a.Progress) > 0 {
			err = p.wantSameAttempt(&a.Progress[0])
		}
		switch {
		case err != nil && !lost(err):
			return a, false, err
		case err != nil:
			complete = false
			r.warn(fmt.Errorf("%s/%s is passed over: %w", Folder(f.id), progressName(n), err))
		default:
			a.Progress = append(a.Progress, *p)
		}
	}
	return a, complete, nil
}

// readOneProgress reads a progress object, and looks for its pack among the objects of the
// attempt.
func (r *Repository) readOneProgress(ctx context.Context, id string, n int, sizes map[string]int64) (*Progress, error) {
	b, err := store.ReadAll(ctx, r.st, Folder(id)+"/"+progressName(n), maxStored)
	if err != nil {
		return nil, err
	}
	p, err := DecodeProgress(b)
	if err != nil {
		return nil, err
	}
	if p.ID != id {
		return nil, fmt.Errorf("it is of %s: %w", p.ID, ErrDamaged)
	}
	if p.Pack.Name == "" {
		return p, nil
	}
	switch size, there := sizes[p.Pack.Name]; {
	case !there:
		return nil, fmt.Errorf("its pack %s is missing: %w", p.Pack.Name, ErrDamaged)
	case size != p.Object.Size:
		return nil, fmt.Errorf("its pack %s has %d bytes, want %d: %w", p.Pack.Name, size, p.Object.Size, ErrDamaged)
	case (p.Key != "") != r.Encrypted():
		return nil, fmt.Errorf("its pack %s is not encrypted as the repository is: %w", p.Pack.Name, ErrDamaged)
	}
	if _, there := sizes[keyBase]; p.Key != "" && !there {
		return nil, fmt.Errorf("the key of its pack %s is missing: %w", p.Pack.Name, ErrDamaged)
	}
	return p, nil
}

// PutProgress writes down that a pack of the draft is finished, so that the next attempt
// can continue on it if this one ends early. It fills in id, kind, object, and what the
// draft has adopted.
func (d *Draft) PutProgress(ctx context.Context, p *Progress) error {
	d.mu.Lock()
	p.ID, p.Kind, p.Adopted, p.Key = d.id, d.Kind(), d.adopted, d.keys[keyBase]
	object, stored := d.objects[p.Pack.Name]
	d.progress++
	name := progressName(d.progress)
	d.mu.Unlock()
	if p.Pack.Name != "" && !stored {
		return fmt.Errorf("record the progress of %s: pack %s was not stored by this attempt", d.id, p.Pack.Name)
	}
	p.Object = object.Object
	b, err := p.Encode()
	if err == nil {
		err = d.putClear(ctx, name, b)
	}
	if err != nil {
		return fmt.Errorf("record the progress of %s: %w", d.id, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recorded[name], d.recorded[p.Pack.Name], d.recorded[keyBase] = true, true, true
	return nil
}

// Adopt makes what interrupted attempts have stored objects of this draft. They are as
// Interrupted returned them, newest first. Commit looks whether they are still there.
func (d *Draft) Adopt(attempts []Interrupted) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.adopted = nil
	for i := range attempts {
		a := &attempts[i]
		d.adopted = append(d.adopted, a.ID)
		for n := range a.Progress {
			if o := a.Progress[n].Object; o.Name != "" {
				o.Name = a.ID + "/" + o.Name
				d.objects[o.Name] = draftObject{o, a.Progress[n].Pack.Size}
				d.keys[a.ID+"/"+keyBase] = a.Progress[n].Key
			}
		}
	}
}

// Suspend ends a draft that failed, and leaves what PutProgress has recorded for the next
// attempt to continue on. All else is removed, first of all the label, which Commit may
// have written although it returned an error.
func (d *Draft) Suspend(ctx context.Context) error {
	if err := d.repository.CheckLock(); err != nil {
		return fmt.Errorf("suspend %s: %w", d.id, err)
	}
	if err := d.repository.st.Delete(ctx, labelName(d.id)); err != nil {
		return fmt.Errorf("suspend %s: %w", d.id, err)
	}
	d.mu.Lock()
	recorded := d.recorded
	d.mu.Unlock()
	keep := func(base string) bool { return recorded[base] }
	if err := d.repository.clear(ctx, d.id, keep); err != nil {
		return fmt.Errorf("suspend %s: %w", d.id, err)
	}
	return nil
}

// forget removes what a backup that exists needs no more: its progress objects, and what
// the attempts on which it continued have left that it does not name. Whatever fails is
// for the next Sweep.
func (d *Draft) forget(ctx context.Context, l *Label) {
	d.mu.Lock()
	adopted, nothing := d.adopted, d.progress == 0 && len(d.adopted) == 0
	d.mu.Unlock()
	if nothing {
		return
	}
	named := l.namedIn()
	err := d.repository.clear(ctx, d.id, func(base string) bool { return !isProgress(base) })
	for _, id := range adopted {
		if err == nil {
			err = d.repository.clear(ctx, id, func(base string) bool { return named[id][base] })
		}
	}
	if err != nil {
		d.repository.warn(fmt.Errorf("what %s needs no more is still there: %w", d.id, err))
	}
}
