package mariadbd

import (
	"bufio"
	"os"
	"strconv"
	"strings"
)

// BufferSize chooses the size of the buffer pool for a recovery: enough for the
// pages that the redo log changes, within what the machine can spare.
func BufferSize(redo int64) int64 {
	const least, most = 128 << 20, 1 << 30
	size := min(max(2*redo, least), most)
	if free := freeMemory(); free > 0 {
		size = min(size, max(free/2, 64<<20))
	}
	return size &^ (1<<20 - 1)
}

// freeMemory is what the machine can spare, in bytes, 0 if it is not known.
func freeMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close() //nolint:errcheck // only read
	var free int64
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if fields := strings.Fields(sc.Text()); len(fields) >= 2 && fields[0] == "MemAvailable:" {
			kb, _ := strconv.ParseInt(fields[1], 10, 64) // 0 means not known
			free = kb << 10
		}
	}
	// A container may have less than the machine.
	if limit, ok := readNumber("/sys/fs/cgroup/memory.max"); ok {
		used, _ := readNumber("/sys/fs/cgroup/memory.current")
		free = min(free, max(limit-used, 1))
	}
	return free
}

// readNumber reads a file that holds one number.
func readNumber(path string) (int64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
