package pack

// Extent is the place of a part of a file in the packs of a backup. The chunks of an
// extent follow each other in its pack and cover the file from Start to Start+Size
// without a gap, unless it is partial.
type Extent struct {
	Pack   string `json:"pack"`   // name of the object within the backup: "data-0001.pack"
	Offset int64  `json:"offset"` // first byte of the first chunk's header in the pack
	Length int64  `json:"length"` // bytes in the pack, headers included
	Start  int64  `json:"start"`  // offset in the file
	Size   int64  `json:"size"`   // bytes of the file
	// Partial says that the chunks hold only some pages of the part, in their order. The
	// others are those of the layer below.
	Partial bool `json:"partial,omitempty"`
}

// Pack is a finished pack: an object that will never change.
type Pack struct {
	Name string `json:"name"`  // within the backup
	Size int64  `json:"size"`  // bytes
	Raw  int64  `json:"bytes"` // bytes of files that its chunks stand for
}
