package innodb

import "fmt"

// placeBlocks finds out where the blocks of a log of MariaDB 10.5 to 10.7 lie, and
// how they are encrypted: only the checkpoints tell.
func (l *logFile) placeBlocks() error {
	if l.info.Size() < minBlockFile {
		return fmt.Errorf("%w: the file has %d bytes", ErrBadLogHeader, l.info.Size())
	}
	p, err := l.blockPoint()
	if err != nil {
		return err
	}
	if p.offset >= l.info.Size() {
		return fmt.Errorf("%w: checkpoint %d lies at %d of %d bytes", ErrBadLogHeader, p.LSN, p.offset, l.info.Size())
	}
	l.ring, l.header.Crypt = p.ring(l.info.Size()), p.crypt
	return nil
}

// blockPoint reads the newest checkpoint block.
func (l *logFile) blockPoint() (p blockPoint, err error) {
	b := make([]byte, blockDataStart)
	err = l.whenWhole(b, func() (torn bool, err error) {
		p, torn, err = newestBlockPoint(b, l.header.Format)
		return torn, err
	})
	return p, err
}
