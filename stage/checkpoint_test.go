package stage_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// On a server that never stops writing the statement may not end. A checkpoint is there soon.
func TestCheckpointOfBusyServer(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		srv.MustExec(t, "SET GLOBAL innodb_flush_log_at_trx_commit=0", "CREATE DATABASE busy",
			"CREATE TABLE busy.t (a INT PRIMARY KEY, b INT, c CHAR(200)) ENGINE=InnoDB",
			"INSERT INTO busy.t SELECT seq, 0, '' FROM busy.seq_1_to_20000")
		ctx, stop := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		defer writers.Wait()
		defer stop()
		for n := range 8 {
			writers.Go(func() {
				for ctx.Err() == nil {
					err := srv.Exec(context.WithoutCancel(ctx), "UPDATE busy.t SET b = b + 1 WHERE a % 8 = "+strconv.Itoa(n)+
						" AND a BETWEEN FLOOR(RAND() * 20000) AND 20000 LIMIT 50")
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		s := connect(t, srv)
		watch, err := s.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer watch.Close()
		longest := time.Duration(0)
		for range 5 {
			before, err := watch.LSNs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			err = s.Checkpoint(t.Context(), watch, before.Current)
			longest = max(longest, time.Since(begun))
			if errors.Is(err, errors.ErrUnsupported) {
				return
			}
			after, told := watch.LSNs(t.Context())
			if err := errors.Join(err, told); err != nil || after.Checkpoint < before.Current {
				t.Fatalf("LSNs %+v, then %+v, %v", before, after, err)
			}
		}
		t.Logf("the longest of 5 took %s", longest)
		const left = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SET GLOBAL innodb_log_checkpoint%'"
		for begun := time.Now(); srv.MustValue(t, left) != "0"; time.Sleep(100 * time.Millisecond) {
			if time.Since(begun) > 30*time.Second {
				t.Fatalf("%s statements still run 30 s later, and the server writes all it has", srv.MustValue(t, left))
			}
		}
	})
}
