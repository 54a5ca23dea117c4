// Package coldbackup makes backups for tests without a hot copy: of a data directory whose
// server was killed. The files are as a crash left them, so that restoring them takes real
// recovery.
package coldbackup

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/aria"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/repo/store/folder"
	"mbk/internal/test/mariadbtest"
)

// Fixture is a repository with one backup of a data directory whose server was
// killed: the files are as a crash left them, so that restoring them takes real
// recovery. It stands in for a hot backup.
type Fixture struct {
	Repository *repo.Repository
	Folder     string // of the repository
	Manifest   *repo.Manifest
	Dist       mariadbtest.Dist

	draft *repo.Draft // which has stored the objects; nil of a copy until it is committed
}

// newManifest asks a running server for what does not come from files.
func newManifest(t testing.TB, s *mariadbtest.Server) *repo.Manifest {
	t.Helper()
	started := time.Now().Add(-time.Minute)
	m := &repo.Manifest{
		FormatVersion: repo.FormatVersion, ID: repo.NewID(started, repo.KindFull), Kind: repo.KindFull,
		Tool: "mbk test", Started: started.UTC(), Finished: time.Now().UTC(), Codec: "zstd", Warnings: []string{},
		Binlog: &repo.Binlog{File: "binlog.000001", Position: 4711, GTID: "0-1-42"},
	}
	m.Server = repo.Server{
		Version: s.Dist.Version, Hostname: "db1", Port: 3306, Datadir: s.Datadir,
		Program: s.Dist.Program("mariadbd"), Variables: map[string]string{},
	}
	for _, r := range query(t, s, "SHOW GLOBAL VARIABLES") {
		m.Server.Variables[strings.ToLower(r[0])] = r[1]
	}
	for _, r := range query(t, s,
		"SELECT PLUGIN_NAME, PLUGIN_TYPE, PLUGIN_LIBRARY FROM information_schema.PLUGINS WHERE PLUGIN_STATUS='ACTIVE' AND "+
			"PLUGIN_LIBRARY IS NOT NULL") {
		m.Server.Plugins = append(m.Server.Plugins, repo.Plugin{Name: r[0], Type: r[1], Library: r[2]})
	}
	for _, r := range query(t, s, "SELECT TABLE_SCHEMA, TABLE_NAME, IFNULL(ENGINE,''), TABLE_TYPE FROM "+
		"information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ('information_schema','performance_schema') AND "+
		"TABLE_TYPE<>'TEMPORARY'") {
		m.Tables = append(m.Tables, repo.Table{Database: r[0], Name: r[1], Engine: r[2], Type: r[3]})
	}
	return m
}

// query returns the rows of a query as text.
func query(t testing.TB, s *mariadbtest.Server, q string) [][]string {
	t.Helper()
	rows, err := s.DB().QueryContext(t.Context(), q)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	defer rows.Close() //nolint:errcheck // Err is looked at
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		targets := make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		row := make([]string, len(columns))
		for i, v := range values {
			row[i] = v.String
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// endOfLog has a server recover a copy of a data directory and returns where it
// found the end of the redo log.
func endOfLog(t testing.TB, s *mariadbtest.Server, args []string) innodb.LSN {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", s.Datadir, dir).CombinedOutput(); err != nil {
		t.Fatalf("copy data directory: %v\n%s", err, out)
	}
	all := append([]string{"--no-defaults", "--datadir=" + dir, "--bootstrap"}, args...)
	all = append(all, "--skip-log-bin", "--innodb-log-file-size=8M")
	if os.Geteuid() == 0 {
		all = append(all, "--user=root")
	}
	out, _ := exec.Command(s.Dist.Program("mariadbd"), all...).CombinedOutput() // prepared transactions make it fail
	match := regexp.MustCompile(`End of log at LSN=(\d+)`).FindSubmatch(out)
	if match == nil {
		t.Fatalf("no end of log in\n%s", out)
	}
	n, err := strconv.ParseUint(string(match[1]), 10, 64)
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		t.Fatal(err)
	}
	return innodb.LSN(n)
}

// coldBackup copies a data directory that nobody uses.
type coldBackup struct {
	datadir string
	draft   *repo.Draft
	m       *repo.Manifest
	parent  *repo.Manifest // nil: it is a full backup
	copier  *copier.Copier
	next    uint32
	pending []*copier.Pending
	open    []*os.File
}

func (b *coldBackup) run(ctx context.Context, end innodb.LSN) (err error) {
	if b.copier, err = copier.New(ctx, b.draft,
		copier.Options{Workers: 2, Codec: pack.Zstd, SegmentSize: 4 << 20}); err != nil {
		return err
	}
	defer func() {
		for _, f := range b.open {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := filepath.WalkDir(b.datadir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return b.entry(ctx, p, d)
	}); err != nil {
		return err
	}
	for i, p := range b.pending {
		if p == nil {
			continue
		}
		r, err := p.Wait(ctx)
		if err != nil {
			return err
		}
		b.m.Files[i].Extents = r.Extents
	}
	if b.m.Packs, err = b.copier.Close(ctx); err != nil {
		return err
	}
	if err := b.redo(ctx, end); err != nil {
		return err
	}
	b.listFiles()
	return nil
}

// entry takes in one entry of the data directory.
func (b *coldBackup) entry(ctx context.Context, p string, d fs.DirEntry) error {
	rel, err := filepath.Rel(b.datadir, p)
	if err != nil || rel == "." {
		return err
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	if d.IsDir() {
		b.m.Directories = append(b.m.Directories, repo.Directory{Path: rel, Name: rel, Mode: uint32(info.Mode().Perm())})
		return nil
	}
	name := d.Name()
	switch {
	case name == aria.ControlFile:
		raw, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		control, err := aria.ParseControl(raw)
		b.m.Aria.Control = &control
		return err
	case rel == name && !slices.Contains([]string{"ibdata1", "ibdata2", "undo001", "undo002", "undo003",
		"ib_buffer_pool"}, name) && !strings.HasPrefix(name, "aria_log."):
		return nil // of the server's process, or its binary log
	case strings.HasPrefix(name, "#sql") && path.Ext(name) != ".ibd":
		return nil
	}
	return b.file(ctx, rel, info)
}

// file copies one file.
func (b *coldBackup) file(ctx context.Context, rel string, info fs.FileInfo) error {
	f, err := os.Open(filepath.Join(b.datadir, rel))
	if err != nil {
		return err
	}
	b.open = append(b.open, f)
	b.next++
	file := repo.File{
		Number: b.next, Path: filepath.ToSlash(rel), Class: repo.ClassPlain, Size: info.Size(),
		Mode: uint32(info.Mode().Perm()), Modified: info.ModTime().UTC(),
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		file.Dev, file.Inode, file.Sparse = st.Dev, st.Ino, st.Blocks*512 < st.Size
	}
	source := copier.Source{Number: b.next, Name: rel, File: f, Size: file.Size}
	base := filepath.Base(rel)
	switch {
	case strings.HasPrefix(base, "aria_log."):
		file.Class = repo.ClassLog
	case strings.HasPrefix(base, "ibdata"), strings.HasPrefix(base, "undo0"), path.Ext(base) == ".ibd":
		err = b.tablespace(f, &file, &source)
	}
	if err != nil {
		return err
	}
	var p *copier.Pending
	if !b.layOver(&file, &source) {
		if p, err = b.copier.Add(ctx, source); err != nil {
			return err
		}
	}
	b.m.Files = append(b.m.Files, file)
	b.pending = append(b.pending, p)
	return nil
}

// tablespace fills in what is known of an InnoDB file.
func (b *coldBackup) tablespace(f *os.File, file *repo.File, source *copier.Source) error {
	file.Class = repo.ClassInnoDB
	pageSize := 16384
	if n, err := strconv.Atoi(b.m.Server.Variables["innodb_page_size"]); err == nil {
		pageSize = n
	}
	head := make([]byte, pageSize)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	space, err := innodb.ParseSpace(head, pageSize)
	if base := filepath.Base(file.Path); base == "ibdata2" {
		zero := innodb.SpaceID(0)
		file.Space, file.Flags, file.PageSize = &zero, b.m.Files[0].Flags, pageSize
		file.First = uint32(b.m.Files[0].Size / int64(pageSize))
		return nil
	}
	if errors.Is(err, innodb.ErrNoSpace) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file.Path, err)
	}
	file.Space, file.Flags, file.PageSize = &space.ID, uint32(space.Flags), space.PageSize
	if space.ID != 0 {
		return nil
	}
	page5 := make([]byte, pageSize)
	if _, err := f.ReadAt(page5, 5*int64(pageSize)); err != nil {
		return err
	}
	if first, second, extent, ok := innodb.Doublewrite(page5, pageSize); ok {
		size := int64(extent) * int64(pageSize)
		source.Blank = []copier.Range{{Start: int64(first) * int64(pageSize), Size: size},
			{Start: int64(second) * int64(pageSize), Size: size}}
	}
	return nil
}

// redo stores the redo from the newest checkpoint to end. The log must be on its
// first lap, where every sequence bit is 1 already.
func (b *coldBackup) redo(ctx context.Context, end innodb.LSN) error {
	raw, err := os.ReadFile(filepath.Join(b.datadir, "ib_logfile0"))
	if err != nil {
		return err
	}
	header, err := innodb.ParseLogHeader(raw)
	if err != nil {
		return err
	}
	c, _, err := innodb.NewestCheckpoint(raw[:innodb.LogDataOffset], header.FirstLSN)
	if err != nil {
		return err
	}
	from, to := innodb.LogDataOffset+int64(c.LSN-header.FirstLSN), innodb.LogDataOffset+int64(end-header.FirstLSN)
	if to > int64(len(raw)) {
		return errors.New("the redo log of the test server has wrapped around: use a larger one")
	}
	b.next++
	r, made, err := copier.StoreStream(ctx, b.draft, "redo.pack", b.next, 0, bytes.NewReader(raw[from:to]),
		copier.Options{Codec: pack.Zstd})
	if err != nil {
		return err
	}
	b.m.Packs = append(b.m.Packs, made)
	b.m.Redo = repo.Redo{
		Format: header.Format, Creator: header.Creator, Crypt: header.Crypt, Checkpoint: c, End: end,
		File: len(b.m.Files), Capacity: int64(len(raw)) - innodb.LogDataOffset,
	}
	b.m.LSN = repo.LSNs{Checkpoint: c.LSN, End: end}
	b.m.Files = append(b.m.Files,
		repo.File{Number: b.next, Path: "ib_logfile0", Class: repo.ClassRedo, Size: to - from, Mode: 0o660,
			Extents: r.Extents})
	return nil
}

// listFiles says which files belong to which table, as far as names need no
// decoding.
func (b *coldBackup) listFiles() {
	byStem := map[string][]int{}
	for i, f := range b.m.Files {
		if dir := path.Dir(f.Path); dir != "." && path.Ext(f.Path) != ".opt" {
			stem, _, _ := strings.Cut(strings.TrimSuffix(path.Base(f.Path), path.Ext(f.Path)), "#P#")
			byStem[dir+"."+stem] = append(byStem[dir+"."+stem], i)
		}
	}
	for i := range b.m.Tables {
		t := &b.m.Tables[i]
		t.Files = byStem[t.Database+"."+t.Name]
	}
}

// FlushLogs makes commits durable that otherwise only the binary log knows of.
const FlushLogs = "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS"

// Fill starts a server of a series and fills it with tables of every
// engine, with changes that are only in the logs. The snapshot is what it holds.
func Fill(t testing.TB, series string, args ...string) (*mariadbtest.Server, mariadbtest.Snapshot) {
	t.Helper()
	args = append([]string{"--innodb-log-file-size=96M"}, args...)
	s := mariadbtest.New(t, series, args...)
	if err := mariadbtest.Populate(t.Context(), s, mariadbtest.Fill{}); err != nil {
		t.Fatal(err)
	}
	load, err := mariadbtest.Write(t.Context(), s, mariadbtest.WriteOptions{Pause: -1})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(700 * time.Millisecond)
	if _, err := load.Stop(); err != nil {
		t.Fatal(err)
	}
	snapshot, err := mariadbtest.TakeSnapshot(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	// What is neither in InnoDB's log nor in Aria's has to be in the files.
	s.MustExec(t, "FLUSH TABLES", FlushLogs)
	return s, snapshot
}

// Of kills a server, as a crash would, and backs its files up. The args are
// those without which its data directory cannot be opened.
func Of(t testing.TB, s *mariadbtest.Server, args ...string) *Fixture {
	t.Helper()
	f := &Fixture{Folder: t.TempDir(), Dist: s.Dist}
	f.Manifest = newManifest(t, s)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	st, err := folder.Open(f.Folder)
	if err != nil {
		t.Fatal(err)
	}
	if f.Repository, err = repo.Init(t.Context(), st, "mbk test"); err != nil {
		t.Fatal(err)
	}
	release, err := f.Repository.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.draft = f.Repository.Draft(f.Manifest.ID)
	b := &coldBackup{datadir: s.Datadir, draft: f.draft, m: f.Manifest}
	if err := errors.Join(b.run(t.Context(), endOfLog(t, s, args)), release()); err != nil {
		t.Fatal(err)
	}
	f.Commit(t)
	return f
}

// Commit writes the manifest, again if it was changed.
func (f *Fixture) Commit(t testing.TB) {
	t.Helper()
	release, err := f.Repository.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f.draft == nil {
		f.draft, err = f.storeAgain(t.Context())
	}
	lineage := &repo.Lineage{ID: f.Manifest.ID, Checkpoint: f.Manifest.LSN.Checkpoint, End: f.Manifest.LSN.End}
	if err == nil {
		err = f.draft.Commit(t.Context(), f.Manifest, lineage)
	}
	if err := errors.Join(err, release()); err != nil {
		t.Fatal(err)
	}
}

// storeAgain returns a draft that has stored the packs that are there.
func (f *Fixture) storeAgain(ctx context.Context) (*repo.Draft, error) {
	d := f.Repository.Draft(f.Manifest.ID)
	for _, p := range f.Manifest.Packs {
		b, err := os.ReadFile(filepath.Join(f.Folder, repo.Folder(f.Manifest.ID), p.Name))
		if err != nil {
			return nil, err
		}
		err = d.Put(ctx, p.Name, func(w io.Writer) error {
			_, err := w.Write(b)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Small is a backup with a few tables, of which some changes are only in
// the redo log, and one transaction that was not committed.
func Small(t testing.TB, series string, args ...string) *Fixture {
	t.Helper()
	s := mariadbtest.New(t, series, append([]string{"--innodb-log-file-size=16M"}, args...)...)
	s.MustExec(t,
		"CREATE DATABASE shop",
		"CREATE TABLE shop.orders (id INT PRIMARY KEY, v VARCHAR(100), KEY (v)) ENGINE=InnoDB",
		"CREATE TABLE shop.parts (id INT PRIMARY KEY) ENGINE=InnoDB PARTITION BY HASH (id) PARTITIONS 2",
		"CREATE TABLE shop.notes (id INT PRIMARY KEY, v VARCHAR(100)) ENGINE=Aria TRANSACTIONAL=1",
		"CREATE TABLE shop.old (id INT PRIMARY KEY, v VARCHAR(100)) ENGINE=MyISAM",
		"CREATE VIEW shop.v AS SELECT id FROM shop.orders",
		"INSERT INTO shop.orders SELECT seq, MD5(seq) FROM mysql.seq_1_to_3000",
		"INSERT INTO shop.parts SELECT seq FROM mysql.seq_1_to_10",
		"INSERT INTO shop.old SELECT seq, MD5(seq) FROM mysql.seq_1_to_1000",
		"FLUSH TABLES",
		"INSERT INTO shop.notes SELECT seq, MD5(seq) FROM mysql.seq_1_to_1000",
	)
	tx, err := s.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("UPDATE shop.orders SET v = 'not committed' WHERE id < 100"); err != nil {
		t.Fatal(err)
	}
	s.MustExec(t, "UPDATE shop.orders SET v = 'committed' WHERE id = 3000", FlushLogs)
	f := Of(t, s, args...)
	_ = tx.Rollback() // its server is gone
	return f
}

// WantSmall starts a server on a restore of the small fixture.
func WantSmall(t testing.TB, series, dir string, args ...string) {
	t.Helper()
	s := mariadbtest.Open(t, series, dir, args...)
	for q, want := range map[string]string{
		"SELECT COUNT(*) FROM shop.orders":                           "3000",
		"SELECT COUNT(*) FROM shop.orders WHERE v = 'not committed'": "0",
		"SELECT v FROM shop.orders WHERE id = 3000":                  "committed",
		"SELECT COUNT(*) FROM shop.parts":                            "10",
		"SELECT COUNT(*) FROM shop.notes":                            "1000",
		"SELECT COUNT(*) FROM shop.old":                              "1000",
		"SELECT COUNT(*) FROM shop.v":                                "3000",
	} {
		if got := s.MustValue(t, q); got != want {
			t.Errorf("%s = %s, want %s", q, got, want)
		}
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// Flip changes one byte of an object of the repository and returns how to change
// it back.
func (f *Fixture) Flip(t testing.TB, object string, offset int64) (undo func()) {
	t.Helper()
	name := filepath.Join(f.Folder, object)
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	change := func() {
		file, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		_, err = file.ReadAt(b, offset)
		b[0] ^= 0x10
		_, err2 := file.WriteAt(b, offset)
		if err := errors.Join(err, err2, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	change()
	return change
}

// CopyManifest makes a repository whose manifest can be changed. Its objects are
// those of the fixture, by hard links.
func (f *Fixture) CopyManifest(t testing.TB) *Fixture {
	t.Helper()
	g := &Fixture{Folder: t.TempDir(), Dist: f.Dist}
	if out, err := exec.Command("cp", "-al", f.Folder+"/.", g.Folder).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Remove(filepath.Join(g.Folder, ".lock-repository")); err != nil { // it has one name only
		t.Fatal(err)
	}
	st, err := folder.Open(g.Folder)
	if err != nil {
		t.Fatal(err)
	}
	if g.Repository, err = repo.Open(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	if g.Manifest, err = g.Repository.Manifest(t.Context(), repo.Latest); err != nil {
		t.Fatal(err)
	}
	return g
}

// DropFile takes a file out of the manifest.
func (f *Fixture) DropFile(t testing.TB, path string) {
	t.Helper()
	m := f.Manifest
	i := slices.IndexFunc(m.Files, func(x repo.File) bool { return x.Path == path })
	if i < 0 {
		t.Fatalf("no file %s", path)
	}
	m.Files = slices.Delete(m.Files, i, i+1)
	if m.Redo.File > i {
		m.Redo.File--
	}
	for j := range m.Tables {
		m.Tables[j].Files = nil
	}
	f.Commit(t)
}

// LinkedTo makes a copy of the fixture in which a file of the backup was a link.
func (f *Fixture) LinkedTo(t testing.TB, path, origin string) *Fixture {
	t.Helper()
	g := f.CopyManifest(t)
	i := slices.IndexFunc(g.Manifest.Files, func(f repo.File) bool { return f.Path == path })
	if i < 0 {
		t.Fatalf("no %s in the backup", path)
	}
	g.Manifest.Files[i].Origin, g.Manifest.Files[i].Link = origin, repo.LinkSymbolic
	g.Commit(t)
	return g
}

// WantNothingBut checks what a folder holds.
func WantNothingBut(t testing.TB, dir string, want ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, name := range want {
		known[name] = true
	}
	for _, e := range list {
		if !known[e.Name()] {
			t.Errorf("%s was left in %s", e.Name(), dir)
		}
	}
}

// OddName is a name for a folder with what breaks options, lists, formats and shells
// elsewhere. Its path is too long for a socket.
const OddName = "-dash 12:00,a;b=c%s%n'\"`$HOME~#\\*?[x]&|<> \n\tü\xff" +
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
