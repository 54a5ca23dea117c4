package repo

import "time"

// Label is the object whose writing makes a backup exist: written last, removed first.
// It is small and names no table, host or folder, so that backups can be listed, copied,
// compared with what was stored and removed without their manifests.
type Label struct {
	FormatVersion int       `json:"format_version"`
	ID            string    `json:"id"`
	Kind          string    `json:"kind"`
	Parent        string    `json:"parent"` // "" of a full backup
	Tool          string    `json:"tool"`
	Started       time.Time `json:"started"`
	Finished      time.Time `json:"finished"`
	LSN           LSNs      `json:"lsn"`
	Volume
	Size      int64    `json:"size"` // bytes of the files that a restore creates
	Databases int      `json:"databases"`
	Tables    int      `json:"tables"`
	Files     int      `json:"files"`
	Damaged   int      `json:"damaged"` // pages that were damaged in the source
	Filtered  bool     `json:"filtered"`
	Objects   []Object `json:"objects"` // all other objects of the backup
}

// Object is an object of a backup as it was stored.
type Object struct {
	// Name is that within the backup: "data-0001.pack"; or, of an interrupted attempt on
	// which the backup continued, with the id of that: "20261129T201806Z-full/data-0001.pack".
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	BLAKE3 string `json:"blake3"` // of these bytes, 64 hex digits, as b3sum prints it
}
