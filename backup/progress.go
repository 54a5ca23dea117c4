package backup

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// progress writes down what an attempt has stored, pack by pack, so that the next one can
// go on from there. Methods may be called from several goroutines.
type progress struct {
	draft     *repo.Draft
	damagedOK bool // a file may have damaged pages, of which the next attempt has to know

	mu      sync.Mutex
	header  repo.Progress // what all packs have in common
	arrived time.Time     // as ancestry.arrived
	files   map[uint32]noted
	always  []uint32 // numbers of the files by which the server is known, in every object
	raw     int64    // bytes of files that are on record
	missed  []*repo.Progress
}

// noted is a file as it was before its copy was begun.
type noted struct {
	file  repo.LineageFile
	pages *innodbPages // nil: not of InnoDB
}

// part is what is kept of a part of the file that was read.
func (n *noted) part(read copier.Part) repo.Part {
	p := repo.Part{Number: read.Number, Extent: read.Extent}
	if n.pages != nil {
		groups := groupsOfPart(&n.file, read.Extent)
		p.LSNs = n.pages.sums(groups.first, groups.end)
	}
	return p
}

func newProgress(d *repo.Draft, damagedOK bool) *progress {
	return &progress{draft: d, damagedOK: damagedOK, files: map[uint32]noted{}}
}

// begin is called when the checkpoint is known and no page is copied yet.
func (pr *progress) begin(header repo.Progress, arrived time.Time) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	pr.header, pr.arrived = header, arrived
}

// note is called before the copy of a file is begun. Aria's logs, and files of which the
// end is copied again, are of no use to another attempt.
func (pr *progress) note(fc *fileCopy) {
	if pr == nil || fc.class == repo.ClassLog || fc.entry.OfLogTable() {
		return
	}
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if _, known := pr.files[fc.number]; known {
		return
	}
	f := fc.lineage(pr.arrived)
	f.Quiescent = f.Quiescent && !pr.damagedOK
	pr.files[fc.number] = noted{file: f, pages: fc.pages}
	if fc.id != nil && *fc.id == 0 {
		pr.always = append(pr.always, fc.number)
	}
}

// packed is called when a pack is durable, with what was read for it.
func (pr *progress) packed(ctx context.Context, p pack.Pack, parts []copier.Part) error {
	if p.Name == "" {
		return nil // the next attempt finds out again that nothing of this has changed
	}
	record, ok := pr.record(p, parts)
	if !ok {
		return nil
	}
	err := pr.draft.PutProgress(ctx, record)
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if err != nil {
		pr.missed = append(pr.missed, record)
		return err
	}
	pr.raw += p.Raw
	return nil
}

// again records the packs that could not be recorded, as far as possible now: after the
// failure of an attempt that has filled the disk, what it had not ended is removed, and
// there is room again.
func (pr *progress) again(ctx context.Context) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	for _, record := range pr.missed {
		if pr.draft.PutProgress(ctx, record) == nil {
			pr.raw += record.Pack.Raw
		}
	}
	pr.missed = nil
}

// record is what the repository keeps of a pack, if there is anything in it that the next
// attempt could use.
func (pr *progress) record(p pack.Pack, parts []copier.Part) (*repo.Progress, bool) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	record := pr.header
	record.Pack = p
	record.Parts = make([]repo.Part, 0, len(parts))
	numbers := append(make([]uint32, 0, len(pr.always)+len(parts)), pr.always...)
	for _, part := range parts {
		of, known := pr.files[part.Number]
		if !known {
			continue
		}
		record.Parts = append(record.Parts, of.part(part))
		numbers = append(numbers, part.Number)
		if of.pages != nil {
			// The server's log had got that far.
			record.End = max(record.End, innodb.LSN(of.pages.max.Load()))
		}
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	record.Files = make([]repo.LineageFile, 0, len(numbers))
	for _, number := range numbers {
		record.Files = append(record.Files, pr.files[number].file)
	}
	pr.forget(record.Parts)
	slices.SortFunc(record.Parts, func(a, b repo.Part) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Extent.Start, b.Extent.Start))
	})
	return &record, len(record.Parts) > 0
}

// forget drops the files of which these parts are the whole: no other record is to have them.
// Of many small files nothing is left that way.
func (pr *progress) forget(parts []repo.Part) {
	for _, p := range parts {
		whole := p.Extent.Start == 0 && p.Extent.Size >= pr.files[p.Number].file.Copied
		if whole && !slices.Contains(pr.always, p.Number) {
			delete(pr.files, p.Number)
		}
	}
}

// stored returns how many bytes of files are on record.
func (pr *progress) stored() int64 {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	return pr.raw
}
