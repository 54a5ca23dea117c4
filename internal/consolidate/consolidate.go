// Package consolidate makes a full backup of an increment and the backups that it needs. It
// works inside the repository, without a server and without recovering anything: what a
// restore would write to files is written to packs.
//
// What no newer layer holds is copied compressed, as it is. Of each file the oldest layer
// stays a layer of its own, below one that holds what all newer ones together have of it.
package consolidate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/ui/meter"
)

// Options say which backup is consolidated. The zero value of every field but Repository,
// ID and Tool is useful.
type Options struct {
	Repository *repo.Repository // locked, unless DryRun
	ID         string           // of a backup, or repo.Latest
	Tool       string           // "mbk 0.1.0"
	// Card returns the restore card of the new backup. nil: it has none
	Card       func(context.Context, *repo.Manifest) string
	Workers    int  // 0: one for each processor
	DryRun     bool // find out what it would take, and change nothing
	OnProgress func(meter.Progress)

	packLimit  int64 // bytes after which a pack ends; 0: copier.DefaultPackLimit
	arenaLimit int   // bytes of pages that a worker sorts at a time; 0: arenaLimit
	taskSize   int64 // bytes in packs of the newer layers of a file that one worker takes; 0: taskSize
}

// Phases, in meter.Progress. Both count bytes in the packs that are read.
const (
	PhaseMerge = "merge" // the newer layers of all files
	PhaseCopy  = "copy"  // the oldest
)

// Defaults of Options. With them a worker takes about 100 MiB of memory.
const (
	arenaLimit = 64 << 20
	taskSize   = 256 << 20
)

// Result is what was made, or would be.
type Result struct {
	ID          string   `json:"id"`           // of the new backup; in a dry run, and if nothing was to be done, ""
	From        []string `json:"from"`         // the backups that it was made of, the newest first
	Label       string   `json:"label"`        // repo.Label.Hash of the new backup
	DryRun      bool     `json:"dry_run"`      //
	BytesNeeded int64    `json:"bytes_needed"` // of free space before: no more is stored
	BytesStored int64    `json:"bytes_stored"` // of its packs
	BytesCopied int64    `json:"bytes_copied"` // of these, copied without being decompressed
	MS          int64    `json:"ms"`
}

// Done reports whether a backup was made.
func (r *Result) Done() bool { return r.ID != "" }

// Run makes a full backup of a chain of backups. The members of the chain stay. A backup
// that needs no other one is left as it is, which is no error. Run removes what it has
// written if it fails.
func Run(ctx context.Context, o Options) (*Result, error) {
	r, err := run(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("consolidate: %w", err)
	}
	return r, nil
}

func run(ctx context.Context, o Options) (*Result, error) {
	began := time.Now()
	o.Workers = cmp.Or(max(o.Workers, 0), runtime.GOMAXPROCS(0))
	o.packLimit = cmp.Or(o.packLimit, copier.DefaultPackLimit)
	o.arenaLimit, o.taskSize = cmp.Or(o.arenaLimit, arenaLimit), cmp.Or(o.taskSize, int64(taskSize))
	chain, err := o.Repository.Chain(ctx, o.ID)
	if err != nil {
		return nil, err
	}
	result := &Result{From: slices.Clone(chain.IDs()), DryRun: o.DryRun}
	if len(result.From) == 1 {
		return result, nil
	}
	c := &consolidation{o: o, chain: chain, result: result, meter: meter.New(o.OnProgress)}
	c.begin()
	err = o.Repository.WantSpace(ctx, "the new backup", result.BytesNeeded+forManifest)
	if err != nil || o.DryRun {
		return result, err
	}
	if err := c.make(ctx); err != nil {
		return nil, err
	}
	result.MS = time.Since(began).Milliseconds()
	return result, nil
}

// consolidation is one run.
type consolidation struct {
	o      Options
	chain  *repo.Chain
	result *Result
	meter  *meter.Meter
	files  []*file // in the order of the manifest
}

// begin collects the files.
func (c *consolidation) begin() {
	m := c.chain.Manifest()
	c.files = make([]*file, len(m.Files))
	for i := range m.Files {
		c.files[i] = newFile(&m.Files[i], c.chain.Layers(i))
		for _, l := range c.files[i].layers {
			for _, e := range l.Extents {
				c.result.BytesNeeded += e.Length
			}
		}
	}
}

// forManifest is what may be needed beside the packs: the manifest.
const forManifest = 16 << 20

// make writes the backup, and its record.
func (c *consolidation) make(ctx context.Context) error {
	r, newest := c.o.Repository, c.chain.Manifest().ID
	// What a consolidation has left that was killed; attempts that can be resumed stay.
	if _, err := r.Sweep(ctx, repo.SweepOptions{Resumable: math.MaxInt64}); err != nil {
		return err
	}
	lineage, err := r.Lineage(ctx, newest)
	if err != nil {
		return err
	}
	begun, _, err := repo.ParseID(newest)
	if err != nil {
		return err
	}
	// It has to be newer than the backup that it stands for: the next increment needs the
	// newest one.
	id, err := r.FreshID(ctx, begun.Add(time.Second), repo.KindFull)
	if err != nil {
		return err
	}
	draft := r.Draft(id)
	m, err := c.write(ctx, draft, *lineage)
	if _, lost := errors.AsType[*store.LostError](err); lost {
		return err // the next Sweep removes what was written
	}
	if err != nil {
		return errors.Join(err, discard(ctx, draft))
	}
	c.result.ID, c.result.Label, c.result.BytesStored = id, draft.Label().Hash, m.BytesStored
	attempt := repo.AttemptOf(m)
	attempt.Label = c.result.Label
	if err := r.PutAttempt(ctx, attempt); err != nil {
		return &RecordError{ID: id, Err: err}
	}
	return nil
}

// write writes the backup.
func (c *consolidation) write(ctx context.Context, d *repo.Draft, lineage repo.Lineage) (*repo.Manifest, error) {
	packs, err := c.writePacks(ctx, d)
	if err != nil {
		return nil, err
	}
	m := c.manifest(d.ID(), packs)
	lineage.ID = d.ID()
	if c.o.Card != nil {
		if err := d.PutCard(ctx, c.o.Card(ctx, m)); err != nil {
			return nil, err
		}
	}
	return m, d.Commit(ctx, m, &lineage)
}

// discardTime is how long what was written may take to be removed.
const discardTime = 20 * time.Second

// discard removes what was written of a backup.
func discard(ctx context.Context, d *repo.Draft) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardTime)
	defer cancel()
	return d.Discard(ctx)
}

// manifest describes the new backup.
func (c *consolidation) manifest(id string, packs []pack.Pack) *repo.Manifest {
	m := *c.chain.Manifest()
	m.ID, m.Kind, m.Parent, m.Tool = id, repo.KindFull, "", c.o.Tool
	m.Reuse = repo.Reuse{ConsolidatedFrom: c.result.From}
	m.Packs, m.Volume = packs, repo.Volume{}
	for _, p := range packs {
		m.BytesRead += p.Raw
		m.BytesStored += p.Size
	}
	m.Files = make([]repo.File, len(c.files))
	for i, f := range c.files {
		m.Files[i] = f.described()
	}
	return &m
}
