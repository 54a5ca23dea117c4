package repo

import (
	"mbk/copier/pack"
	"mbk/internal/innodb"
)

// Lineage is what the next increment, or the next attempt after one that was
// interrupted, must know of a pass of copying: numbers only, no names.
type Lineage struct {
	ID         string     // of the backup or attempt
	Checkpoint innodb.LSN // at which the pass began
	End        innodb.LSN // of its redo; 0 while it is not known
	BootID     [16]byte   // of the source's kernel when it was copied
	AriaUUID   [16]byte
	Series     [2]uint16 // of the server: 10, 11
	PageSize   uint32    // innodb_page_size
	Redo       RedoFile
	Files      []LineageFile // in the order of their numbers
}

// RedoFile is the identity of the source's redo log file.
type RedoFile struct {
	Dev, Inode uint64
	Born       int64      // nanoseconds since 1970, 0: not known
	First      innodb.LSN // with which the file begins, 0: not known
}

// LineageFile is one file as it was when its copy was begun.
type LineageFile struct {
	Number   uint32 // in the manifest
	Class    string // ClassInnoDB ...
	HasSpace bool
	Space    innodb.SpaceID
	PageSize uint32 // of the tablespace, 0: none
	Flags    uint32 // FSP_SPACE_FLAGS: the first page of a file that has not changed need not be read
	Dev      uint64
	Inode    uint64
	Born     int64 // nanoseconds since 1970, 0: the file system does not tell
	Size     int64 // of the file
	Modified int64 // nanoseconds since 1970
	Changed  int64
	// Quiescent: the same size and times later mean the same bytes, and no page of them was
	// damaged. For a tablespace that takes datadir.FileStat.WritesArrived;
	// FileStat.Quiescent alone overlooks a write on its way.
	Quiescent bool
	Copied    int64 // bytes of the copy
}

// Progress is what an attempt has stored in one pack, with what resuming must know of the
// files in it. There is one object for each finished pack.
type Progress struct {
	Lineage          // of the files in this pack
	Kind    string   // of the backup that was being made
	Parent  string   // "" of a full backup
	Adopted []string // ids of the interrupted attempts on which it continued, newest first
	Object  Object   // the pack; without a name if nothing had to be stored
	Pack    pack.Pack
	Parts   []Part // what of which file was read, and is in the pack as far as it had to be
}

// Part is a part of a file that a pass has read.
type Part struct {
	Number uint32      // of the file
	Extent pack.Extent // Length 0: nothing of it had to be stored
}
