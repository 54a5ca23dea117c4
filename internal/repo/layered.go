package repo

import (
	"context"
	"errors"
	"fmt"
	"math"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/ui/printable"
)

// unitWithoutPages is in what units a file without pages is laid over its older layers. It
// is larger for one of more than maxUnits of them, so that no file takes more than 512 MiB.
const (
	unitWithoutPages = 4096
	maxUnits         = math.MaxUint32
)

// Layered is a file of a chain that is being read. All files are read in rounds: in each
// round one layer of each file, the newest first. So of an older layer only what no newer
// one holds is read, and every page is passed on once. A file of one layer that holds
// all of it is read in the first round as it is.
type Layered struct {
	file    *File // of the newest member
	members []string
	layers  []Layer
	over    *copier.Overlay // nil: the one layer holds all of it, each byte once
}

// Layered begins to read the newest manifest's file of a number, which it must have. It
// may take a bit of memory for each page.
func (c *Chain) Layered(number uint32) *Layered {
	i, _ := c.index(number)
	return NewLayered(&c.Manifest().Files[i], c.layers[i], c.ids)
}

// NewLayered begins to read a file of these layers, the newest first. members are the ids
// of the backups, for messages.
func NewLayered(f *File, layers []Layer, members []string) *Layered {
	l := &Layered{file: f, layers: layers, members: members}
	if l.file.Class == ClassRedo || l.file.Size == 0 || len(l.layers) == 1 && l.layers[0].holdsAll(l.file.Size) {
		return l
	}
	l.over = copier.NewOverlay(l.file.Size, l.file.Unit())
	return l
}

// Unit returns in what units of bytes the layers of a file are laid over each other.
func (f *File) Unit() int {
	if f.PageSize > 0 {
		return f.PageSize
	}
	unit := unitWithoutPages
	for f.Size/int64(unit) > maxUnits {
		unit *= 2
	}
	return unit
}

// holdsAll reports whether the extents of a layer follow each other and end where a file
// of size bytes does.
func (l *Layer) holdsAll(size int64) bool {
	var at int64
	for _, e := range l.Extents {
		if e.Partial || e.Start != at {
			return false
		}
		at += e.Size
	}
	return at == size
}

// Single reports whether the file is read in one round, and no byte of it comes from a
// partial extent.
func (l *Layered) Single() bool { return l.over == nil }

// Pieces returns what of a file is to be read in a round, from 0 on; it must be called
// for each round in turn, when the one before is over. last says that the file is
// complete after that, or that Gap tells what it lacks.
func Pieces[F any](l *Layered, round int, file F) (pieces []copier.Piece[F], last bool) {
	if l.over != nil && round > 0 {
		if _, _, missing := l.over.Missing(); !missing {
			return nil, true
		}
	}
	if round < len(l.layers) {
		layer := &l.layers[round]
		for _, e := range layer.Extents {
			if l.over == nil || !l.over.Holds(e.Start, e.Size) {
				pieces = append(pieces, copier.Piece[F]{From: layer.From, Number: layer.Number, File: file, Extent: e})
			}
		}
	}
	return pieces, round >= len(l.layers)-1
}

// Read reads an extent that is one of Pieces of a file, and passes on what no newer layer has.
func Read[F any](ctx context.Context, l *Layered, x *pack.Reader, p copier.Piece[F], to pack.Sink) error {
	if l.over != nil {
		to = l.over.Sink(to)
	}
	return readExtent(ctx, x, p.From, p.Number, p.Extent, to)
}

// readExtent reads an extent into a sink of an Overlay.
func readExtent(
	ctx context.Context, x *pack.Reader, from pack.Opener, number uint32, e pack.Extent, to pack.Sink,
) error {
	err := x.Extent(ctx, from, number, e, to)
	if errors.Is(err, copier.ErrInsidePage) {
		err = &pack.DamageError{Object: from.String() + "/" + e.Pack, Offset: e.Offset,
			Reason: fmt.Sprintf("file %d: %v", number, err)}
	}
	return err
}

// Gap returns a *GapError if the last round is over and there are bytes that no layer
// holds.
func (l *Layered) Gap() error {
	if l.over == nil {
		return nil
	}
	start, size, missing := l.over.Missing()
	if !missing {
		return nil
	}
	return &GapError{File: l.file.Path, Start: start, Size: size, Members: l.members}
}

// errHead ends the reading of an extent of which only the beginning was wanted.
var errHead = errors.New("the beginning is complete")

// Head returns the first n bytes of the file, whatever was read of it, and reads no more
// chunks for that than it must.
func (l *Layered) Head(ctx context.Context, x *pack.Reader, n int64) ([]byte, error) {
	h := &headSink{b: make([]byte, min(n, l.file.Size))}
	h.missing = int64(len(h.b))
	over := copier.NewOverlay(h.missing, l.file.Unit())
	for _, layer := range l.layers {
		for _, e := range layer.Extents {
			if over.Holds(e.Start, e.Size) {
				continue
			}
			err := readExtent(ctx, x, layer.From, layer.Number, e, over.Sink(h))
			if errors.Is(err, errHead) {
				return h.b, nil
			}
			if err != nil {
				return nil, err
			}
		}
	}
	if start, size, missing := over.Missing(); missing {
		return nil, &GapError{File: l.file.Path, Start: start, Size: size, Members: l.members}
	}
	return h.b, nil
}

// headSink keeps the first bytes of a file, each of which it gets once.
type headSink struct {
	b       []byte
	missing int64
}

// WriteAt implements pack.Sink.
func (s *headSink) WriteAt(p []byte, off int64) (int, error) {
	copy(s.b[off:], p)
	return len(p), s.got(int64(len(p)))
}

// Zero implements pack.Sink.
func (s *headSink) Zero(_, n int64) error { return s.got(n) }

// got counts bytes, and returns errHead after the last.
func (s *headSink) got(n int64) error {
	if s.missing -= n; s.missing > 0 {
		return nil
	}
	return errHead
}

// GapError is returned for bytes of a file that no member of a chain holds.
type GapError struct {
	File        string
	Start, Size int64    // of the first such range
	Members     []string // ids, the newest first
}

// Error names the file, the range and the members.
func (e *GapError) Error() string { return e.File + ": " + e.Problem() }

// Problem is the error without the file.
func (e *GapError) Problem() string {
	where := "none of the backups " + printable.List(e.Members)
	if len(e.Members) == 1 {
		where = "no pack of backup " + e.Members[0]
	}
	return fmt.Sprintf("bytes %d to %d are in %s", e.Start, e.Start+e.Size, where)
}

// Fault says that the backup is damaged.
func (e *GapError) Fault() fault.Kind { return fault.Damage }

// Hints names the commands that tell more.
func (e *GapError) Hints() []hint.Text { return []hint.Text{hint.DamagedBackup} }
