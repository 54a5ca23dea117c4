package mariadbd

import (
	"slices"
	"strings"
	"testing"
)

func TestErrorLog(t *testing.T) {
	var told []string
	l := &errorLog{tell: func(s string) { told = append(told, s) }}
	l.read(strings.NewReader(`2026-11-21 23:12:20 0 [Note] InnoDB: Starting crash recovery from checkpoint LSN=45141

2026-11-21 23:12:20 0 [Note] InnoDB: End of log at LSN=6702234
2026-11-21 23:12:20 0 [Warning] InnoDB: Page [page id: space=5, page number=3] log sequence number 12 is in the future!
2026-11-21 23:12:20 0 [ERROR] Found 16 prepared transactions! It means that server was not shut down properly
2026-11-21 23:12:20 0 [ERROR] InnoDB: Crash recovery is broken due to insufficient innodb_log_file_size; last checkpoint LSN=45616, current LSN=8798437.
2026-11-21 23:12:20 0 [ERROR] Aborting
` + strings.Repeat("x", 2<<20)))
	if l.endOfLog != 6702234 || !l.prepared || len(l.damage) != 1 || len(told) != 6 {
		t.Errorf("log = %+v, told %d lines", l, len(told))
	}
	want := "[ERROR] Found 16 prepared transactions! It means that server was not shut down properly"
	if why := l.why(); len(why) != 2 || why[0] != want {
		t.Errorf("why = %q, want %q and one more", why, want)
	}
}

// A table of an unfinished ALTER once stayed in the dictionary, because a transaction
// that was yet to be rolled back held a lock, and its file was removed all the same.
func TestErrorLogOfTableThatWasNotDropped(t *testing.T) {
	for line, want := range map[string]bool{
		"2026-11-22  2:39:38 0 [ERROR] InnoDB: cannot drop shop/#sql-alter-5cd1-10: Lock wait timeout": true,
		"2026-11-22  2:39:38 0 [ERROR] InnoDB: cannot drop shop/orders: Lock wait timeout":             false,
		"2026-11-22  2:39:38 0 [Note] InnoDB: Rolled back recovered transaction 4342":                  false,
	} {
		l := &errorLog{}
		l.read(strings.NewReader(line))
		if l.undropped != want {
			t.Errorf("%s: undropped = %t, want %t", line, l.undropped, want)
		}
	}
}

// What a server says before it aborts does not look like an error.
func TestErrorLogOfAssertion(t *testing.T) {
	l := &errorLog{}
	l.read(strings.NewReader("2026-11-22 15:56:50 0 [Note] InnoDB: End of log at LSN=4711\n" +
		"2026-11-22 15:56:51 0x7f00 InnoDB: Assertion failure in file buf0flu.cc line 2550\n" +
		"InnoDB: Failing assertion: !space->is_being_imported()\n" +
		"261122 15:56:51 [ERROR] mariadbd got signal 6 ;\n"))
	want := []string{"2026-11-22 15:56:51 0x7f00 InnoDB: Assertion failure in file buf0flu.cc line 2550",
		"InnoDB: Failing assertion: !space->is_being_imported()", "[ERROR] mariadbd got signal 6 ;"}
	if got := l.why(); !slices.Equal(got, want) {
		t.Errorf("why = %q, want %q", got, want)
	}
}

// Where a server died of a signal is what its makers will ask for.
func TestErrorLogOfSignal(t *testing.T) {
	l := &errorLog{}
	l.read(strings.NewReader("261130 21:54:40 [ERROR] mysqld got signal 11 ;\n" +
		"Attempting backtrace. You can use the following information to find out\n" +
		"/usr/sbin/mariadbd(my_print_stacktrace+0x2e)[0x55d5c2a1b2c3]\n" +
		"/usr/sbin/mariadbd(handle_fatal_signal+0x475)[0x55d5c2a1b2c3]\n" +
		"/lib/x86_64-linux-gnu/libpthread.so.0(+0x13140)[0x7f1122334455]\n" +
		"/usr/sbin/mariadbd(+0xd2f3a1)[0x55d5c2a1b2c3]\n" +
		"/usr/sbin/mariadbd(maria_recovery_from_log+0x12)[0x55d5c2a1b2c3]\n" +
		"/usr/sbin/mariadbd(_Z11plugin_initPiPPci+0x8d2)[0x55d5c2a1b2c3]\n"))
	want := []string{"[ERROR] mysqld got signal 11 ;", "in maria_recovery_from_log < _Z11plugin_initPiPPci"}
	if got := l.why(); !slices.Equal(got, want) {
		t.Errorf("why = %q, want %q", got, want)
	}
}

func FuzzErrorLog(f *testing.F) {
	f.Add("2026-11-21 23:12:20 0 [Note] InnoDB: End of log at LSN=6702234\n[ERROR] x")
	f.Add("[ERROR] Found 1 prepared transactions! It means that corrupt [Warning] LSN=")
	f.Fuzz(func(t *testing.T, text string) {
		l := &errorLog{tell: func(line string) { tellRecovery(func(string, int64, int64) {}, line) }}
		l.read(strings.NewReader(text))
		if len(l.errors)+len(l.damage)+len(l.last) > 24 {
			t.Errorf("keeps %d lines", len(l.errors)+len(l.damage)+len(l.last))
		}
	})
}
