package repo

import (
	"time"

	"mbk/copier/pack"
	"mbk/internal/aria"
	"mbk/internal/innodb"
)

// FormatVersion is the format of repository, labels, manifests and records that this
// program writes. It refuses newer ones. Format 1 was that of early versions, before any
// release, and is not read any more.
const FormatVersion = 2

// Kinds of backups.
const (
	KindFull        = "full"
	KindIncremental = "incr"

	// KindFailed stands in the id of an attempt that failed before it could
	// begin, so that this id is never that of a backup that runs meanwhile.
	KindFailed = "failed"
)

// Manifest describes one whole backup. It is written before the label, which makes the
// backup exist. docs/format.md describes every field.
type Manifest struct {
	FormatVersion int       `json:"format_version"`
	ID            string    `json:"id"`     // "20261121T201806Z-full"
	Kind          string    `json:"kind"`   // KindFull, KindIncremental
	Parent        string    `json:"parent"` // id of the parent of an incremental backup, else ""
	Tool          string    `json:"tool"`   // "mbk 0.1.0"
	Started       time.Time `json:"started"`
	Finished      time.Time `json:"finished"`

	Server   Server   `json:"server"`
	Steps    []Step   `json:"steps"`
	Stages   []Stage  `json:"stages"`
	LockMS   int64    `json:"lock_window_ms"` // BLOCK_DDL granted to END
	LSN      LSNs     `json:"lsn"`
	Redo     Redo     `json:"redo"`
	Aria     Aria     `json:"aria"`
	Binlog   *Binlog  `json:"binlog,omitempty"` // nil: the server writes none
	Replicas []Source `json:"replica_of,omitempty"`
	Galera   *Galera  `json:"galera,omitempty"`

	Codec string `json:"codec"` // "zstd", "s2", "none"
	Volume
	Changes
	Reuse

	Directories []Directory   `json:"directories"` // every database, empty ones too
	Tables      []Table       `json:"tables"`
	Files       []File        `json:"files"`
	Packs       []pack.Pack   `json:"packs"`
	Damaged     []DamagedPage `json:"damaged,omitempty"`  // only with the option that goes on over them
	LeftOut     []LeftOut     `json:"left_out,omitempty"` // tables that this backup does not hold, and why
	Filter      *Filter       `json:"filter,omitempty"`   // nil: it holds all but LeftOut
	Warnings    []string      `json:"warnings"`
}

// Filter is what a filtered backup was told to hold, in the patterns of package
// filter, and the databases of which it holds nothing. The tables that it does not
// hold are in Manifest.LeftOut.
type Filter struct {
	Databases        []string `json:"databases,omitempty"`
	ExcludeDatabases []string `json:"exclude_databases,omitempty"`
	Tables           []string `json:"tables,omitempty"`
	ExcludeTables    []string `json:"exclude_tables,omitempty"`
	LeftOut          []string `json:"left_out,omitempty"` // databases, by their SQL names
}

// LeftByFilter is the LeftOut.Reason of a table that a filter left out.
const LeftByFilter = "the filter leaves it out"

// Server is the source and what a recovery of its files must know of it.
type Server struct {
	Version   string            `json:"version"` // "10.11.19-MariaDB-0+deb12u1"
	Comment   string            `json:"comment"`
	Hostname  string            `json:"hostname"`
	Port      int               `json:"port"`
	Socket    string            `json:"socket"`
	Datadir   string            `json:"datadir"`
	ServerID  uint32            `json:"server_id"`
	Owner     string            `json:"owner,omitempty"` // user and group of the data directory, "mysql:mysql"
	Program   string            `json:"program"`         // path of the mariadbd that ran, "" if not known
	Variables map[string]string `json:"variables"`       // global variables that recovery needs, by name
	Plugins   []Plugin          `json:"plugins"`         // active plugins loaded from a library
}

// Plugin is an active plugin that is not built into the server.
type Plugin struct {
	Name    string `json:"name"`
	Type    string `json:"type"` // "ENCRYPTION", "STORAGE ENGINE", ...
	Library string `json:"library"`
}

// Step is a part of an attempt as a whole, by the name that its progress has.
type Step struct {
	Name string `json:"name"` // "copying"; for people, and may change
	MS   int64  `json:"ms"`   // so far, if the attempt failed in it
}

// Stage is one BACKUP STAGE as it was held.
type Stage struct {
	Name    string    `json:"name"` // "START", "FLUSH", "BLOCK_DDL", "BLOCK_COMMIT", "END"
	Granted time.Time `json:"granted"`
	WaitMS  int64     `json:"wait_ms"` // from the first try until granted
	HeldMS  int64     `json:"ms"`      // until the next stage was granted
	Tries   int       `json:"tries"`
}

// LSNs are the ends of the redo that the backup holds.
type LSNs struct {
	Checkpoint innodb.LSN `json:"checkpoint"` // recovery starts here
	End        innodb.LSN `json:"end"`        // and ends here
	MaxPage    innodb.LSN `json:"max_page"`   // newest FIL_PAGE_LSN copied, <= End
}

// Redo describes ib_logfile0 as a restore lays it down. The packs hold the
// bytes of the log between the LSNs of Stored, with every sequence bit set to 1,
// as the file Redo.File; the header is created again from these fields.
type Redo struct {
	Format     uint32            `json:"format"`
	Creator    string            `json:"creator"`    // of the source's log
	Crypt      []byte            `json:"crypt"`      // as in innodb.LogHeader
	Checkpoint innodb.Checkpoint `json:"checkpoint"` // as in the source's checkpoint block
	End        innodb.LSN        `json:"end"`        // first LSN not in the backup; the end of a mini-transaction
	File       int               `json:"file"`       // index in Manifest.Files
	Capacity   int64             `json:"capacity"`   // bytes of the source's ring at the start
	// fewest bytes the server could still write before it overwrote what was not copied
	LowestHeadroom int64 `json:"headroom_low"`
	Parts          int64 `json:"mtrs"` // mini-transactions
	FileCreates    int   `json:"file_creates"`
	FileDeletes    int   `json:"file_deletes"`
	FileRenames    int   `json:"file_renames"`
	// ExternalNames is the number of tablespaces that it calls by an absolute path, as
	// far as its names can be read.
	ExternalNames int `json:"far_names,omitempty"`
}

// Stored returns which stretch of the log the packs hold: from Checkpoint.LSN to
// End, or, of a log of blocks, the blocks in which these lie.
func (r *Redo) Stored() (from, to innodb.LSN) {
	return innodb.StoredRedo(r.Format, r.Checkpoint, r.End)
}

// Aria says from where Aria's recovery starts.
type Aria struct {
	Control *aria.Control `json:"control,omitempty"` // as restored
}

// Binlog is the position up to which every transaction is in the backup.
type Binlog struct {
	File     string `json:"file"`
	Position uint64 `json:"position"`
	GTID     string `json:"gtid"`       // @@gtid_binlog_pos
	State    string `json:"gtid_state"` // @@gtid_binlog_state
}

// Source is one connection of a replica to its source, as it stood under BLOCK_COMMIT.
type Source struct {
	Connection string `json:"connection"`
	Host       string `json:"host"`
	Port       int    `json:"port"`
	File       string `json:"file"`     // Relay_Master_Log_File; "": only the GTID is known
	Position   uint64 `json:"position"` // Exec_Master_Log_Pos
	GTID       string `json:"gtid"`     // Gtid_Slave_Pos, and what else was committed
	UsingGTID  string `json:"using_gtid"`
}

// Galera is the state of a cluster node.
type Galera struct {
	UUID  string `json:"uuid"`
	SeqNo int64  `json:"seqno"`
}

// Directory is a database directory.
type Directory struct {
	Path string `json:"path"` // relative to the data directory, as on disk
	Name string `json:"name"` // the database's SQL name
	Mode uint32 `json:"mode"` // permission bits
	// Origin is where it lay on the source, absolute, if it was a symbolic link.
	Origin string `json:"origin,omitempty"`
}

// Table is a table, view or sequence by the server's names.
type Table struct {
	Database string `json:"database"`
	Name     string `json:"name"`
	Engine   string `json:"engine"` // "" for a view, and if the definition cannot be read
	Type     string `json:"type"`   // "BASE TABLE", "VIEW", "SEQUENCE", "SYSTEM VERSIONED"
	Files    []int  `json:"files"`  // indexes in Manifest.Files
	// Problem is what was wrong with the table on the source already, "" if nothing
	// is known: "its data file shop/t.ibd is missing". A verification notes what the
	// server says of such a table, and makes no finding of it.
	Problem string `json:"problem,omitempty"`
}

// Classes of files: how a file was made consistent.
const (
	ClassInnoDB = "innodb" // pages, made consistent by the redo
	ClassRedo   = "redo"   // ib_logfile0
	ClassAria   = "aria"   // blocks of an online-safe table, made consistent by Aria's log
	ClassLog    = "aria-log"
	ClassPlain  = "plain" // copied while it did not change
)

// Kinds of links, from the place of a table's file to where it lay on the source.
const (
	LinkISL      = "isl"      // a file with the extension .isl, for a tablespace of InnoDB
	LinkSymbolic = "symbolic" // a symbolic link
)

// File is one file of the data directory under its final name.
type File struct {
	Number uint32 `json:"number"`           // in the chunk headers of this backup
	Path   string `json:"path"`             // relative to the data directory, as on disk, with "/"
	Origin string `json:"origin,omitempty"` // absolute path on the source if it was outside the data directory
	// LinkISL or LinkSymbolic: how the server got to Origin; "": by its configuration
	Link  string          `json:"link,omitempty"`
	Class string          `json:"class"`
	Space *innodb.SpaceID `json:"space_id,omitempty"`
	Flags uint32          `json:"flags,omitempty"` // FSP_SPACE_FLAGS
	// number of the file's first page (system tablespace of several files)
	First    uint32        `json:"first_page,omitempty"`
	PageSize int           `json:"page_size,omitempty"`
	Size     int64         `json:"size"`
	Sparse   bool          `json:"sparse,omitempty"` // had holes; is restored with holes
	Mode     uint32        `json:"mode"`
	Modified time.Time     `json:"modified"`
	Dev      uint64        `json:"dev"`
	Inode    uint64        `json:"inode"`
	Born     time.Time     `json:"born"` // birth time, zero if the file system has none
	Extents  []pack.Extent `json:"extents"`
	// Base is the number of the same file in the parent's manifest: what no extent here
	// holds is as it is there. Nil: the extents hold all of it.
	Base *uint32 `json:"base,omitempty"`
	// Earlier is what interrupted attempts have stored of the file, on which this backup
	// continued, newest first. It lies below Extents and above Base.
	Earlier []Pass `json:"earlier,omitempty"`
}

// Pass is what one pass of copying has stored of a file.
type Pass struct {
	Number  uint32        `json:"number"` // of the file in the chunk headers of that pass
	Extents []pack.Extent `json:"extents"`
}

// DamagedPage is a page that was damaged in the source.
type DamagedPage struct {
	File string `json:"file"`
	Page uint32 `json:"page"`
}

// LeftOut is a table that is not in the backup.
type LeftOut struct {
	Database string `json:"database"`
	Name     string `json:"name"`
	Engine   string `json:"engine"`
	Reason   string `json:"reason"`
}
