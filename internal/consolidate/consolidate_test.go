package consolidate

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/copier/pack/packtest"
	"mbk/internal/fault"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

const pageSize = 4096

// pages are pages that begin with the LSN of their last change.
type pages struct{}

func (pages) PageSize() int              { return pageSize }
func (pages) Check([]byte, uint32) error { return nil }
func (pages) Changed(page []byte, _ uint32, since uint64) bool {
	lsn := binary.LittleEndian.Uint64(page)
	return lsn == 0 || lsn >= since
}

// server is a server in which things happen between backups.
type server struct {
	t      testing.TB
	st     store.Store
	r      *repo.Repository
	rand   *rand.Rand
	lsn    uint64
	files  map[string][]byte
	inodes map[string]uint64 // another one is another file
	last   uint64
	ids    []string
	states map[string]map[string][]byte // of the backups
	before *repo.Manifest
	since  uint64 // LSN of the newest backup
	small  bool   // segments, so that extents are many
}

// newServer returns a server with files of up to so many pages.
func newServer(t testing.TB, st store.Store, seed uint64, most int) *server {
	t.Helper()
	r, err := repo.Init(t.Context(), st, "mbk test")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{
		t: t, st: st, r: r, rand: rand.New(rand.NewPCG(seed, 1)), lsn: 1000, files: map[string][]byte{},
		inodes: map[string]uint64{}, states: map[string]map[string][]byte{},
	}
	s.create("ibdata1", most/2)
	s.create("a/idle.ibd", most/6)
	s.create("a/t.ibd", most)
	return s
}

// create makes a file, or another one of a name.
func (s *server) create(name string, n int) {
	s.files[name] = nil
	s.last++
	s.inodes[name] = s.last
	s.resize(name, n)
}

// resize makes a file longer or shorter.
func (s *server) resize(name string, n int) {
	had := len(s.files[name]) / pageSize
	if n < had {
		s.files[name] = s.files[name][:n*pageSize]
		return
	}
	s.files[name] = append(slices.Clip(s.files[name]), make([]byte, (n-had)*pageSize)...)
	for no := had; no < n; no++ {
		s.change(name, no)
	}
}

// change gives a page other bytes, sometimes zeros.
func (s *server) change(name string, no int) {
	s.lsn++
	page := s.files[name][no*pageSize : (no+1)*pageSize]
	if s.rand.IntN(15) == 0 && name != "a/idle.ibd" { // zeros are stored again
		clear(page)
		return
	}
	copy(page, packtest.Text(pageSize, s.lsn))
	binary.LittleEndian.PutUint64(page, s.lsn)
}

// work lets something happen.
func (s *server) work(round int) {
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if name == "a/idle.ibd" || len(s.files[name]) == 0 {
			continue
		}
		n := len(s.files[name]) / pageSize
		for range 1 + n/50 {
			s.change(name, s.rand.IntN(n))
		}
		from := s.rand.IntN(n)
		for no := from; no < min(from+s.rand.IntN(100), n); no++ { // whole chunks
			s.change(name, no)
		}
	}
	s.create(fmt.Sprintf("a/new%d.ibd", round), 20+s.rand.IntN(100))
	switch round % 4 {
	case 0:
		s.resize("a/t.ibd", len(s.files["a/t.ibd"])/pageSize+s.rand.IntN(200))
	case 1:
		s.resize("a/t.ibd", len(s.files["a/t.ibd"])*6/7/pageSize)
	case 2:
		s.create(fmt.Sprintf("a/new%d.ibd", round-1), 30) // rebuilt
	case 3:
		delete(s.files, fmt.Sprintf("a/new%d.ibd", round-2))
	}
}

// lock takes the repository's lock.
func lock(t testing.TB, r *repo.Repository) func() {
	t.Helper()
	release, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	}
}

// backUp makes a backup, of which the newest one is the parent if there is one.
func (s *server) backUp() string {
	s.t.Helper()
	defer lock(s.t, s.r)()
	started := time.Date(2026, 11, 1+len(s.states), 0, 0, 0, 0, time.UTC)
	kind, parent := repo.KindFull, ""
	if len(s.ids) > 0 {
		kind, parent = repo.KindIncremental, s.ids[len(s.ids)-1]
	}
	s.lsn++
	checkpoint := innodb.LSN(s.lsn)
	m := &repo.Manifest{
		FormatVersion: repo.FormatVersion, ID: repo.NewID(started, kind), Kind: kind, Parent: parent, Tool: "mbk test",
		Started: started, Finished: started.Add(time.Minute), Codec: "zstd", Warnings: []string{},
		LSN: repo.LSNs{Checkpoint: checkpoint, End: checkpoint + 512},
		Redo: repo.Redo{
			Format: innodb.Format108, Creator: "MariaDB 10.11.6", End: checkpoint + 512, Capacity: 1 << 20,
			Checkpoint: innodb.Checkpoint{LSN: checkpoint, End: checkpoint + 100},
		},
	}
	if kind == repo.KindIncremental {
		m.Chain = s.before.Chain + 1
	}
	d := s.r.Draft(m.ID)
	s.store(d, m)
	l := &repo.Lineage{ID: m.ID, Checkpoint: m.LSN.Checkpoint, End: m.LSN.End, Series: [2]uint16{10, 11}, PageSize: 16384}
	for i := range m.Files {
		l.Files = append(l.Files, repo.LineageFile{
			Number: m.Files[i].Number, Class: m.Files[i].Class, Inode: m.Files[i].Inode, Copied: m.Files[i].Size})
	}
	if err := d.Commit(s.t.Context(), m, l); err != nil {
		s.t.Fatal(err)
	}
	s.committed(m)
	s.states[m.ID] = map[string][]byte{}
	for name, b := range s.files {
		s.states[m.ID][name] = bytes.Clone(b)
	}
	s.since = uint64(checkpoint)
	return m.ID
}

// committed makes a backup the parent of the next one.
func (s *server) committed(m *repo.Manifest) {
	s.ids = append(s.ids, m.ID)
	s.before = m
}

// store copies all files.
func (s *server) store(d *repo.Draft, m *repo.Manifest) {
	s.t.Helper()
	opts := copier.Options{Workers: 2, Codec: pack.Zstd, ChunkSize: 64 << 10, SegmentSize: 512 << 10, PackLimit: 1 << 20}
	if s.small {
		opts.SegmentSize = 64 << 10
	}
	c, err := copier.New(s.t.Context(), d, opts)
	if err != nil {
		s.t.Fatal(err)
	}
	add := func(src copier.Source, f repo.File) {
		src.Name, src.Number = f.Path, f.Number
		p, err := c.Add(s.t.Context(), src)
		if err != nil {
			s.t.Fatal(err)
		}
		result, err := p.Wait(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		f.Size, f.Mode, f.Extents = src.Size, 0o660, result.Extents
		m.Files = append(m.Files, f)
	}
	for i, name := range slices.Sorted(maps.Keys(s.files)) {
		b := s.files[name]
		src := copier.Source{File: bytes.NewReader(b), Size: int64(len(b)), Pages: pages{}}
		f := repo.File{
			Number: uint32(len(s.states)*1000 + i), Path: name, Class: repo.ClassInnoDB, PageSize: pageSize,
			Inode: s.inodes[name],
		}
		if was := s.parentOf(name); was != nil {
			f.Base = &was.Number
			src.Bases = []copier.Base{{Range: copier.Range{Size: min(was.Size, src.Size)}, Since: s.since}}
		}
		add(src, f)
	}
	m.Redo.File = len(m.Files)
	redo := bytes.Repeat([]byte{byte(len(s.ids) + 1)}, 512)
	add(copier.Source{File: bytes.NewReader(redo), Size: 512},
		repo.File{Number: uint32(len(s.states)*1000 + 999), Path: "ib_logfile0", Class: repo.ClassRedo})
	if m.Packs, err = c.Close(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// parentOf returns a file in the newest backup, nil if it is not there or another one.
func (s *server) parentOf(name string) *repo.File {
	if s.before == nil {
		return nil
	}
	for i := range s.before.Files {
		if f := &s.before.Files[i]; f.Path == name && f.Inode == s.inodes[name] {
			return f
		}
	}
	return nil
}

// read reads a backup as a restore does.
func read(t testing.TB, r *repo.Repository, id string) map[string][]byte {
	t.Helper()
	files, err := tryRead(t.Context(), r, id)
	if err != nil {
		t.Fatalf("read %s: %v", id, err)
	}
	return files
}

func tryRead(ctx context.Context, r *repo.Repository, id string) (map[string][]byte, error) {
	chain, err := r.Chain(ctx, id)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, f := range chain.Manifest().Files {
		layers, got := chain.Layered(f.Number), packtest.NewFile(f.Size)
		for round, last := 0, false; !last; round++ {
			var pieces []copier.Piece[int]
			pieces, last = repo.Pieces(layers, round, 0)
			err := copier.Extract(ctx, 1, pieces, func(ctx context.Context, x *pack.Reader, p copier.Piece[int]) error {
				return repo.Read(ctx, layers, x, p, got)
			})
			if err != nil {
				return nil, err
			}
		}
		if err := layers.Gap(); err != nil {
			return nil, err
		}
		if at := got.Missing(); at >= 0 {
			return nil, fmt.Errorf("%s: byte %d is missing", f.Path, at)
		}
		all[f.Path] = got.Bytes
	}
	return all, nil
}

// wantState checks that a backup holds the files of the server as they were then.
func (s *server) wantState(id, of string) {
	s.t.Helper()
	got := read(s.t, s.r, id)
	delete(got, "ib_logfile0")
	for name, want := range s.states[of] {
		if !bytes.Equal(got[name], want) {
			s.t.Errorf("%s in %s differs from what it was in %s", name, id, of)
		}
	}
	if len(got) != len(s.states[of]) {
		s.t.Errorf("%d files, want %d", len(got), len(s.states[of]))
	}
}

// consolidate makes the newest backup a full one.
func (s *server) consolidate(o Options) *Result {
	s.t.Helper()
	defer lock(s.t, s.r)()
	o.Repository, o.Tool, o.ID = s.r, "mbk test 2", s.ids[len(s.ids)-1]
	result, err := Run(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// wantConsolidated checks the new backup against the one that it was made of.
func (s *server) wantConsolidated(r *Result, of string) *repo.Manifest {
	s.t.Helper()
	s.wantState(r.ID, of)
	b, err := s.r.Backup(s.t.Context(), r.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	m := b.Manifest()
	label, err := s.r.Label(s.t.Context(), r.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	if m.Kind != repo.KindFull || m.Parent != "" || m.Chain != 0 || !slices.Equal(m.ConsolidatedFrom, r.From) ||
		label.Hash != r.Label || m.Tool != "mbk test 2" || r.From[0] != of {
		s.t.Errorf("manifest %s %q %d %v, result %+v", m.Kind, m.Parent, m.Chain, m.ConsolidatedFrom, r)
	}
	if m.BytesStored != r.BytesStored || r.BytesStored > r.BytesNeeded || r.BytesCopied > r.BytesStored {
		s.t.Errorf("result %+v", r)
	}
	if latest, err := s.r.Resolve(s.t.Context(), repo.Latest); err != nil || latest != r.ID {
		s.t.Errorf("the newest backup is %s, %v", latest, err)
	}
	lineage, err := s.r.Lineage(s.t.Context(), r.ID)
	if err != nil || lineage.ID != r.ID || len(lineage.Files) != len(m.Files) || lineage.Checkpoint != m.LSN.Checkpoint {
		s.t.Errorf("lineage %+v, %v", lineage, err)
	}
	if a, err := s.r.Attempt(s.t.Context(), r.ID); err != nil || a.Label != r.Label || a.Outcome != repo.OutcomeOK {
		s.t.Errorf("record %+v, %v", a, err)
	}
	for _, p := range m.Packs {
		object := store.Object{}
		list, err := s.st.List(s.t.Context(), repo.Folder(r.ID)+"/"+p.Name)
		if len(list) > 0 {
			object = list[0]
		}
		if err != nil || object.Size != p.Size {
			s.t.Errorf("pack %+v is %+v, %v", p, object, err)
		}
	}
	return m
}

func TestChainsBecomeFullBackups(t *testing.T) {
	for _, tc := range []struct {
		name    string
		members int
		small   bool
		opts    Options
	}{
		{"one increment", 2, false, Options{}},
		{"three", 4, false, Options{Workers: 1}},
		{"many small extents and packs", 5, true, Options{Workers: 3, packLimit: 300 << 10}},
		{"little memory", 5, false, Options{Workers: 2, arenaLimit: 64 << 10}},
		{"divided files", 5, true, Options{Workers: 3, taskSize: 50 << 10}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, storetest.NewMem(), uint64(tc.members), 700)
			s.small = tc.small
			for i := range tc.members {
				if s.backUp(); i < tc.members-1 {
					s.work(i)
				}
			}
			newest := s.ids[len(s.ids)-1]
			result := s.consolidate(tc.opts)
			m := s.wantConsolidated(result, newest)
			for _, f := range m.Files {
				if f.Path == "a/idle.ibd" && len(f.Earlier) > 0 {
					t.Errorf("a file of one layer has %d earlier passes", len(f.Earlier))
				}
				if tc.opts.arenaLimit == 0 && len(f.Earlier) > 2 {
					t.Errorf("%s has %d earlier passes", f.Path, len(f.Earlier))
				}
			}
			// The chain is as it was, and goes without the others.
			for _, id := range s.ids {
				s.wantState(id, id)
			}
			unlock := lock(t, s.r)
			for _, id := range slices.Backward(s.ids) {
				if err := s.r.Draft(id).Discard(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			unlock()
			s.wantState(result.ID, newest)
		})
	}
}

// A consolidated backup is the parent of the next increment, and is consolidated again. The
// layers do not become more with time.
func TestConsolidatedAgainAndAgain(t *testing.T) {
	s := newServer(t, storetest.NewMem(), 77, 400)
	s.backUp()
	round := 0
	for range 4 {
		for range 2 {
			s.work(round)
			s.backUp()
			round++
		}
		newest := s.ids[len(s.ids)-1]
		result := s.consolidate(Options{Workers: 2})
		if len(result.From) != 3 {
			t.Errorf("made of %v", result.From)
		}
		m := s.wantConsolidated(result, newest)
		for _, f := range m.Files {
			extents := len(f.Extents)
			for _, p := range f.Earlier {
				extents += len(p.Extents)
			}
			if len(f.Earlier) > 2 || extents > 16 {
				t.Errorf("round %d: %s has %d earlier passes and %d extents", round, f.Path, len(f.Earlier), extents)
			}
		}
		s.committed(m)
	}
}

// With each operation of the store failing in turn, all backups that are listed stay whole,
// and the next run works.
func TestFailsAtEveryPoint(t *testing.T) {
	mem := storetest.NewMem()
	s := newServer(t, mem, 5, 100)
	for i := range 3 {
		if s.backUp(); i < 2 {
			s.work(i)
		}
	}
	newest := s.ids[2]
	for n := 0; ; n++ {
		st := storetest.FailAt(mem, n)
		r, err := repo.Open(t.Context(), st)
		if errors.Is(err, storetest.ErrInjected) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		release, err := r.Lock(t.Context())
		if errors.Is(err, storetest.ErrInjected) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Repository: r, ID: newest, Tool: "mbk test 2", Workers: 2, packLimit: 200 << 10}
		result, err := Run(t.Context(), o)
		if release := release(); release != nil && !errors.Is(release, storetest.ErrInjected) {
			t.Fatal(release)
		}
		if err != nil && !errors.Is(err, storetest.ErrInjected) {
			t.Fatalf("point %d: %v", n, err)
		}
		fired := st.Fired()
		if err != nil && !fired {
			t.Fatalf("point %d: %v", n, err)
		}
		list, listed := s.r.List(t.Context())
		if listed != nil || len(list) < 3 || len(list) > 4 {
			t.Fatalf("point %d: %d backups, %v", n, len(list), listed)
		}
		if len(list) == 4 {
			s.wantState(list[3].ID, newest)
			if result != nil && result.ID != list[3].ID {
				t.Errorf("point %d: made %s, listed is %s", n, result.ID, list[3].ID)
			}
			unlock := lock(t, s.r)
			if err := s.r.Draft(list[3].ID).Discard(t.Context()); err != nil {
				t.Fatal(err)
			}
			unlock()
		}
		if !fired {
			if err != nil || len(list) != 4 {
				t.Fatalf("without a failure: %v, %d backups", err, len(list))
			}
			return
		}
	}
}

// Damage in a chunk that is copied as it is is found, and no backup is made of it.
func TestDamageIsNotCopied(t *testing.T) {
	mem := storetest.NewMem()
	s := newServer(t, mem, 5, 100)
	s.backUp()
	s.work(0)
	s.backUp()
	b, err := s.r.Backup(t.Context(), s.ids[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range b.Manifest().Files {
		if f.Path != "a/idle.ibd" {
			continue
		}
		e := f.Extents[0]
		object := repo.Folder(s.ids[0]) + "/" + e.Pack
		if err := storetest.Flip(t.Context(), mem, object, e.Offset+200, 1); err != nil {
			t.Fatal(err)
		}
		defer lock(t, s.r)()
		_, err := Run(t.Context(), Options{Repository: s.r, ID: repo.Latest, Tool: "mbk test"})
		damage, ok := errors.AsType[*pack.DamageError](err)
		if !ok || damage.Object != object {
			t.Fatalf("error %v, want damage in %s", err, object)
		}
		if list, err := s.r.List(t.Context()); err != nil || len(list) != 2 {
			t.Errorf("%d backups, %v", len(list), err)
		}
		if left, err := mem.List(t.Context(), repo.Folder("20261102T000001Z-full")); err != nil || len(left) > 0 {
			t.Errorf("left are %v, %v", left, err)
		}
		return
	}
	t.Error("there is no such file")
}

// A page that no backup holds is damage, and not zeros.
func TestGapIsFound(t *testing.T) {
	s := newServer(t, storetest.NewMem(), 5, 100)
	s.backUp()
	s.resize("a/t.ibd", 150)
	before := s.before.Files
	for i := range before {
		if before[i].Path == "a/t.ibd" {
			before[i].Size = 150 * pageSize // so the next takes the parent to have all of it
		}
	}
	s.since = s.lsn + 1
	s.backUp()
	defer lock(t, s.r)()
	_, err := Run(t.Context(), Options{Repository: s.r, ID: repo.Latest, Tool: "mbk test"})
	gap, ok := errors.AsType[*repo.GapError](err)
	if !ok || gap.File != "a/t.ibd" || gap.Start != 100*pageSize || fault.Of(err) != fault.Damage {
		t.Errorf("error %v", err)
	}
}

func TestDryRun(t *testing.T) {
	mem := storetest.NewMem()
	s := newServer(t, mem, 5, 100)
	s.backUp()
	s.work(0)
	s.backUp()
	objects := func() []store.Object {
		list, err := mem.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	before := objects()
	dry := Options{Repository: s.r, ID: repo.Latest, Tool: "mbk test", DryRun: true}
	result, err := Run(t.Context(), dry) // without a lock
	if err != nil || result.Done() || !result.DryRun || len(result.From) != 2 || result.BytesNeeded <= 0 {
		t.Errorf("result %+v, %v", result, err)
	}
	full, err := Run(t.Context(), Options{Repository: s.r, ID: s.ids[0], Tool: "mbk test"})
	if err != nil || full.Done() || !slices.Equal(full.From, s.ids[:1]) {
		t.Errorf("of a full backup: %+v, %v", full, err)
	}
	if after := objects(); !slices.Equal(after, before) {
		t.Errorf("objects %v, before %v", after, before)
	}
}

// fullStore has no room.
type fullStore struct {
	*storetest.Mem
	puts atomic.Int64
}

func (s *fullStore) Space(context.Context) (store.Space, error) {
	return store.Space{Free: 20 << 20, Total: 1 << 40, Known: true}, nil
}

func (s *fullStore) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	s.puts.Add(1)
	return s.Mem.Put(ctx, name, write)
}

func TestNoSpace(t *testing.T) {
	st := &fullStore{Mem: storetest.NewMem()}
	s := newServer(t, st, 5, 100)
	s.create("a/large.ibd", 0)
	s.files["a/large.ibd"] = packtest.Noise(5<<20, 1)
	s.backUp()
	s.work(0)
	s.backUp()
	defer lock(t, s.r)()
	puts := st.puts.Load()
	_, err := Run(t.Context(), Options{Repository: s.r, ID: repo.Latest, Tool: "mbk test"})
	if !errors.Is(err, repo.ErrNoSpace) || fault.Of(err) != fault.Config || st.puts.Load() != puts {
		t.Errorf("error %v, %d objects were written", err, st.puts.Load()-puts)
	}
}

func TestCancelled(t *testing.T) {
	s := newServer(t, storetest.NewMem(), 5, 100)
	s.backUp()
	s.work(0)
	s.backUp()
	defer lock(t, s.r)()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Options{Repository: s.r, ID: s.ids[1], Tool: "mbk test"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if list, err := s.r.List(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("%d backups, %v", len(list), err)
	}
}
