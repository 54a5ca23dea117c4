package pack

// Extent says where one run of a file's bytes lies in the packs of a backup.
// The chunks of an extent follow one another in its pack and cover the raw run
// from Start to Start+Size without a gap.
type Extent struct {
	Pack   string `json:"pack"`   // object name inside the backup's folder: "data-0001.pack"
	Offset int64  `json:"offset"` // first byte of the first chunk's header in the pack
	Length int64  `json:"length"` // bytes in the pack, headers included
	Start  int64  `json:"start"`  // offset in the file
	Size   int64  `json:"size"`   // bytes of the file
}

// Pack is a finished pack: an object that will never change.
type Pack struct {
	Name string `json:"name"`  // inside the backup's folder
	Size int64  `json:"size"`  // bytes
	Hash string `json:"xxh3"`  // XXH3-128 of all bytes, 32 hex digits
	Raw  int64  `json:"bytes"` // bytes of files that its chunks stand for
}
