package preflight

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// raiseDescriptorLimit raises the soft limit of open files to the hard one and
// returns how many files this process may have open.
func raiseDescriptorLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	if limit.Cur < limit.Max {
		limit.Cur = limit.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return 0, fmt.Errorf("raise the limit of open files: %w", err)
		}
	}
	const enough = 1 << 20
	return int(min(limit.Cur, enough)), nil
}

// reservedDescriptors are for everything except the tables: connections, packs, logs.
const reservedDescriptors = 128

// checkDescriptors raises the limit of open files.
func (r *Report) checkDescriptors() {
	limit, err := raiseDescriptorLimit()
	switch {
	case err != nil:
		r.Add("descriptors", GradeError, err.Error())
	case limit < 4*reservedDescriptors:
		r.Add("descriptors", GradeError, fmt.Sprintf("only %d files may be open at once", limit),
			"raise the limit: ulimit -n 65536, or LimitNOFILE= of the service")
	default:
		r.Descriptors = limit - reservedDescriptors
		r.Add("descriptors", GradeOK, fmt.Sprintf("%d files may be open at once", limit))
	}
}
