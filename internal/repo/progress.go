package repo

import (
	"errors"
	"fmt"
	"strings"

	"mbk/copier/pack"
)

// Progress is what an attempt has stored in one pack, with what resuming must know of the
// files in it. There is one object for each finished pack.
type Progress struct {
	Lineage          // of the files in this pack; End is how far the server's log had got
	Kind    string   // of the backup that was being made
	Parent  string   // "" of a full backup
	Adopted []string // ids of the interrupted attempts on which it continued, newest first
	Key     string   // LabelKey.BLAKE3 of the attempt, "" if it is not encrypted
	Object  Object   // the pack; without a name if nothing had to be stored
	Pack    pack.Pack
	Parts   []Part // what of which file was read, and is in the pack as far as it had to be
}

// Part is a part of a file that a pass has read.
type Part struct {
	Number uint32      // of the file
	Extent pack.Extent // Length 0: nothing of it had to be stored
	// LSNs has, of a tablespace, the sums of LSNs of the groups of pages that lie in the
	// part as a whole (innodb.LSNGroupsWithin); 0 if one is not known.
	LSNs []uint32
}

// What is in a progress object besides the records of a lineage.
const (
	progressMagic   = "mbkp"
	progressVersion = 2
	nameField       = 128     // bytes of the name of a pack
	flagPartial     = 1       // of a Part
	minPage         = 1 << 10 // bytes of the smallest page of a tablespace
)

// progressName is the name of the n-th progress object of an attempt, from 1.
func progressName(n int) string { return fmt.Sprintf("progress-%04d.bin.zst", n) }

// isProgress reports whether that is the name of a progress object in its folder.
func isProgress(base string) bool { return strings.HasPrefix(base, "progress-") }

// Encode returns the object progress-0001.bin.zst.
func (p *Progress) Encode() ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	var w recordWriter
	w.raw([]byte(progressMagic))
	w.u32(progressVersion)
	p.Lineage.write(&w)
	w.text(p.Parent, idField)
	w.u32(uint32(len(p.Adopted)))
	for _, id := range p.Adopted {
		w.text(id, idField)
	}
	w.hash(p.Key)
	w.text(p.Object.Name, nameField)
	w.i64(p.Object.Size)
	w.hash(p.Object.BLAKE3)
	w.i64(p.Pack.Size)
	w.i64(p.Pack.Raw)
	w.u32(uint32(len(p.Parts)))
	for i := range p.Parts {
		p.Parts[i].write(&w)
	}
	return w.document()
}

func (p *Part) write(w *recordWriter) {
	var flags uint32
	if p.Extent.Partial {
		flags = flagPartial
	}
	w.u32(p.Number)
	w.u32(flags)
	w.i64(p.Extent.Offset)
	w.i64(p.Extent.Length)
	w.i64(p.Extent.Start)
	w.i64(p.Extent.Size)
	w.list(p.LSNs)
}

// DecodeProgress reads what Encode returned. The bytes may be hostile. The error is
// ErrDamaged, or ErrNewerFormat.
func DecodeProgress(b []byte) (*Progress, error) {
	r, done, err := openRecords(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer done()
	if err := r.version(progressMagic, progressVersion); err != nil {
		return nil, err
	}
	p := new(Progress)
	p.Lineage.read(r)
	_, p.Kind, err = ParseID(p.ID)
	if err != nil {
		r.fail(err)
	}
	p.readRest(r)
	err = r.end()
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return p, nil
}

// readRest reads what follows the lineage.
func (p *Progress) readRest(r *recordReader) {
	p.Parent = r.text(idField)
	n := r.u32()
	if n > maxPasses {
		r.fail(fmt.Errorf("%d adopted attempts", n))
	}
	for range n {
		if r.err != nil {
			return
		}
		p.Adopted = append(p.Adopted, r.text(idField))
	}
	p.Key = r.hash()
	p.Object = Object{Name: r.text(nameField), Size: r.i64(), BLAKE3: r.hash()}
	p.Pack = pack.Pack{Name: p.Object.Name, Size: r.i64(), Raw: r.i64()}
	n = r.u32()
	if n > maxManifestList {
		r.fail(fmt.Errorf("%d parts", n))
	}
	for range n {
		if r.err != nil {
			return
		}
		p.Parts = append(p.Parts, readPart(r, p.Pack.Name))
	}
}

func readPart(r *recordReader, name string) Part {
	p := Part{Number: r.u32()}
	flags := r.u32()
	if flags&^flagPartial != 0 {
		r.fail(fmt.Errorf("part of file number %d: flags %#x", p.Number, flags))
	}
	p.Extent = pack.Extent{Offset: r.i64(), Length: r.i64(), Start: r.i64(), Size: r.i64(), Partial: flags == flagPartial}
	if p.Extent.Length > 0 {
		p.Extent.Pack = name
	}
	p.LSNs = r.list()
	return p
}

// Validate checks that nobody has to fear the numbers.
func (p *Progress) Validate() error {
	if err := p.Lineage.Validate(); err != nil {
		return err
	}
	for _, check := range []func() error{
		func() error { return checkKinship(p.ID, p.Kind, p.Parent) }, p.checkAdopted, p.checkPack, p.checkParts,
	} {
		if err := check(); err != nil {
			return fmt.Errorf("progress: %w", err)
		}
	}
	return nil
}

func (p *Progress) checkAdopted() error {
	seen := map[string]bool{p.ID: true}
	for _, id := range p.Adopted {
		if _, _, err := ParseID(id); err != nil {
			return err
		}
		if seen[id] {
			return fmt.Errorf("%s has adopted %s, which is itself or there twice", p.ID, id)
		}
		seen[id] = true
	}
	if len(p.Adopted) > maxPasses {
		return fmt.Errorf("%d adopted attempts", len(p.Adopted))
	}
	return nil
}

func (p *Progress) checkPack() error {
	switch {
	case p.Pack.Name != p.Object.Name || p.Pack.Size > p.Object.Size,
		p.Key == "" && p.Pack.Size != p.Object.Size:
		return fmt.Errorf("pack %q of %d bytes in object %q of %d", p.Pack.Name, p.Pack.Size, p.Object.Name, p.Object.Size)
	case p.Pack.Raw < 0 || p.Pack.Size < 0:
		return fmt.Errorf("pack of %d bytes for %d", p.Pack.Size, p.Pack.Raw)
	case p.Object == Object{}:
		return nil
	case !isPackName(p.Object.Name):
		return fmt.Errorf("object name %q", p.Object.Name)
	}
	return checkObject(p.ID, &p.Object)
}

func (p *Progress) checkParts() error {
	numbers := make(map[uint32]bool, len(p.Files))
	for i := range p.Files {
		numbers[p.Files[i].Number] = true
	}
	for i := range p.Parts {
		x := &p.Parts[i].Extent
		switch {
		case !numbers[p.Parts[i].Number]:
			return fmt.Errorf("part %d is of file number %d, of which nothing is known", i, p.Parts[i].Number)
		case x.Length > 0 && x.Pack != p.Pack.Name:
			return fmt.Errorf("part %d lies in the pack %q", i, x.Pack)
		case x.Offset < 0 || x.Length < 0 || x.Offset > p.Pack.Size || x.Length > p.Pack.Size-x.Offset:
			return fmt.Errorf("part %d: %d bytes at %d of a pack that has %d", i, x.Length, x.Offset, p.Pack.Size)
		case x.Start < 0 || x.Start > maxFileSize || x.Size <= 0 || x.Size > maxFileSize:
			return fmt.Errorf("part %d: %d bytes at %d", i, x.Size, x.Start)
		case int64(len(p.Parts[i].LSNs)) > x.Size/minPage:
			return fmt.Errorf("part %d: sums of %d groups of pages in %d bytes", i, len(p.Parts[i].LSNs), x.Size)
		}
	}
	return nil
}

// wantSameAttempt returns an error unless another progress object is of the same attempt.
func (p *Progress) wantSameAttempt(other *Progress) error {
	a, b := &p.Lineage, &other.Lineage
	if a.ID != b.ID || a.Checkpoint != b.Checkpoint || a.BootID != b.BootID || a.AriaUUID != b.AriaUUID ||
		a.Series != b.Series || a.PageSize != b.PageSize || a.Redo != b.Redo || p.Parent != other.Parent ||
		p.Key != other.Key ||
		strings.Join(p.Adopted, " ") != strings.Join(other.Adopted, " ") {
		return errors.New("it is not of the same attempt as the others beside it")
	}
	return nil
}
