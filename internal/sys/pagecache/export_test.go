package pagecache

// GuessFirst is what Guess does on kernels that do not count cached pages.
func GuessFirst(f File, n int64) Map {
	conn, err := f.SyscallConn()
	if err != nil {
		return Map{}
	}
	return guessFirst(f, conn, n)
}
