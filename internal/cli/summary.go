package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"mbk/internal/job/report"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/ui"
)

// backupDocument is what "backup --json" and "show --json" print. docs/manual/backup.md
// describes it; fields are added, never changed.
type backupDocument struct {
	ID            string    `json:"id"`
	Kind          string    `json:"kind"`
	Parent        string    `json:"parent"`
	Label         string    `json:"label"` // BLAKE3 of the backup's label, which stands for all of it
	Tool          string    `json:"tool"`
	ServerVersion string    `json:"server_version"`
	Hostname      string    `json:"hostname"`
	Datadir       string    `json:"datadir"`
	Started       time.Time `json:"started"`
	Finished      time.Time `json:"finished"`
	Codec         string    `json:"codec"`
	repo.Volume
	repo.Reuse
	LockWindowMS   int64           `json:"lock_window_ms"`
	Steps          []repo.Step     `json:"steps"`
	Stages         []stageDocument `json:"stages"`
	LSN            lsnDocument     `json:"lsn"`
	RedoBytes      int64           `json:"redo_bytes"`
	RedoCapacity   int64           `json:"redo_capacity"`
	LowestHeadroom int64           `json:"redo_headroom_low"`
	Binlog         *repo.Binlog    `json:"binlog"`
	Replicas       []repo.Source   `json:"replica_of"`
	Galera         *repo.Galera    `json:"galera"`
	Databases      int             `json:"databases"`
	Tables         int             `json:"tables"`
	Files          int             `json:"files"`
	repo.Changes
	Damaged  int            `json:"damaged_pages"`
	LeftOut  []repo.LeftOut `json:"left_out"`
	Filter   *repo.Filter   `json:"filter"`
	Config   []string       `json:"config"`
	Warnings []string       `json:"warnings"`

	Hooks         []repo.Hook         `json:"hooks"`
	Copies        []repo.Copy         `json:"copies"`
	Notifications []repo.Notification `json:"notifications"`
}

type stageDocument struct {
	Name   string `json:"name"`
	MS     int64  `json:"ms"`
	WaitMS int64  `json:"wait_ms"`
	Tries  int    `json:"tries"`
}

type lsnDocument struct {
	Checkpoint uint64 `json:"checkpoint"`
	End        uint64 `json:"end"`
}

// describe returns the document of a backup. label is the hash of its label, "" if that
// cannot be read.
func describe(m *repo.Manifest, label string, around repo.Around) backupDocument {
	d := backupDocument{
		ID: m.ID, Kind: m.Kind, Parent: m.Parent, Label: label, Reuse: m.Reuse, Tool: m.Tool, ServerVersion: m.Server.Version,
		Hostname: m.Server.Hostname, Datadir: m.Server.Datadir, Started: m.Started, Finished: m.Finished, Codec: m.Codec,
		Volume: m.Volume, LockWindowMS: m.LockMS, Steps: m.Steps, Stages: []stageDocument{},
		LSN:       lsnDocument{Checkpoint: uint64(m.LSN.Checkpoint), End: uint64(m.LSN.End)},
		RedoBytes: int64(m.LSN.End - m.LSN.Checkpoint), RedoCapacity: m.Redo.Capacity, LowestHeadroom: m.Redo.LowestHeadroom,
		Binlog: m.Binlog, Replicas: m.Replicas, Galera: m.Galera,
		Databases: len(m.Directories), Tables: len(m.Tables), Files: len(m.Files),
		Changes: m.Changes, Damaged: len(m.Damaged), LeftOut: m.LeftOut, Filter: m.Filter,
		Config: restore.Config(m), Warnings: m.Warnings,
		Hooks: append([]repo.Hook{}, around.Hooks...), Copies: append([]repo.Copy{}, around.Copies...),
		Notifications: append([]repo.Notification{}, around.Notifications...),
	}
	for _, s := range m.Stages {
		d.Stages = append(d.Stages, stageDocument{Name: s.Name, MS: s.HeldMS, WaitMS: s.WaitMS, Tries: s.Tries})
	}
	if d.Replicas == nil {
		d.Replicas = []repo.Source{}
	}
	if d.LeftOut == nil {
		d.LeftOut = []repo.LeftOut{}
	}
	if d.Warnings == nil {
		d.Warnings = []string{}
	}
	return d
}

// linkLines lists the symbolic links in the data directory that the backup followed.
func linkLines(m *repo.Manifest) []string {
	const most = 5
	var names []string
	for _, d := range m.Directories {
		if d.Origin != "" {
			names = append(names, d.Path+" in "+d.Origin)
		}
	}
	for _, f := range m.Files {
		if f.Link != "" {
			names = append(names, f.Path+" in "+f.Origin)
		}
	}
	if len(names) == 0 {
		return nil
	}
	shown := strings.Join(names[:min(len(names), most)], ", ")
	if more := len(names) - most; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	return []string{fmt.Sprintf("links\tfollowed to %d files and databases elsewhere: %s", len(names), shown)}
}

// printBackup prints a backup as text. label is the hash of its label, "" if that cannot be
// read.
func printBackup(u *ui.UI, m *repo.Manifest, label string) error {
	took := m.Finished.Sub(m.Started)
	lines := []string{"backup\t" + m.ID}
	if label != "" {
		lines = append(lines, "label\t"+label)
	}
	a := repo.AttemptOf(m)
	for _, row := range report.Place(&a) {
		lines = append(lines, row.Label+"\t"+row.Text)
	}
	lines = append(lines,
		fmt.Sprintf("server\tMariaDB %s at %s, %s", m.Server.Version, m.Server.Hostname, m.Server.Datadir),
		fmt.Sprintf("holds\t%d tables in %d databases, %d files", len(m.Tables), len(m.Directories), len(m.Files)),
		fmt.Sprintf("size\t%s read, %s stored (%.1f : 1, %s)",
			ui.Size(m.BytesRead), ui.Size(m.BytesStored), ratio(m), m.Codec),
		fmt.Sprintf("time\t%s, %s", ui.Span(took), ui.Rate(m.BytesRead, took)),
		fmt.Sprintf("locked\t%s (BLOCK_DDL to END)", ui.Milliseconds(m.LockMS)),
		fmt.Sprintf("redo\t%s from checkpoint %d to LSN %d; lowest head-room %s of %s",
			ui.Size(int64(m.LSN.End-m.LSN.Checkpoint)), m.LSN.Checkpoint, m.LSN.End,
			ui.Size(m.Redo.LowestHeadroom), ui.Size(m.Redo.Capacity)),
	)
	if b := m.Binlog; b != nil {
		lines = append(lines, fmt.Sprintf("binlog\t%s %d, GTID %s", b.File, b.Position, cmp.Or(b.GTID, "none")))
	}
	for _, s := range m.Replicas {
		position := ""
		if s.File != "" {
			position = fmt.Sprintf(" %s %d,", s.File, s.Position)
		}
		lines = append(lines, fmt.Sprintf("replica of\t%s:%d,%s GTID %s", s.Host, s.Port, position, cmp.Or(s.GTID, "none")))
	}
	lines = append(lines, linkLines(m)...)
	lines = append(lines, leftOutLines(m)...)
	for _, w := range m.Warnings {
		lines = append(lines, "warning\t"+w)
	}
	return u.Rows(lines)
}

// ratio returns bytes read / bytes stored.
func ratio(m *repo.Manifest) float64 {
	return float64(m.BytesRead) / float64(max(m.BytesStored, 1))
}
