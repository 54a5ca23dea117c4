package stage_test

import (
	"slices"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// A tablespace that was discarded is told from one that is being used, and from
// the same one before.
func TestDiscardedAndTableIDs(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		s := connect(t, srv)
		srv.MustExec(t, "CREATE DATABASE `d b`", "CREATE TABLE `d b`.`it's` (a INT PRIMARY KEY, b TEXT, FULLTEXT (b))",
			"CREATE TABLE `d b`.u (a INT)", "CREATE TABLE `d b`.p (a INT PRIMARY KEY) PARTITION BY HASH (a) PARTITIONS 2")
		before, err := s.TableIDs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if names, err := s.Discarded(t.Context()); err != nil || len(names) != 0 {
			t.Errorf("before: discarded are %q, %v", names, err)
		}
		srv.MustExec(t, "ALTER TABLE `d b`.`it's` DISCARD TABLESPACE")
		names, err := s.Discarded(t.Context())
		if want := []string{"d@0020b/it@0027s"}; err != nil || !slices.Equal(names, want) {
			t.Errorf("discarded are %q, %v; want %q", names, err, want)
		}
		after, err := s.TableIDs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		changed := 0
		for space, id := range before {
			if other, present := after[space]; present && other != id {
				changed++
			}
		}
		if changed != 1 {
			t.Errorf("%d tablespaces changed their table, want 1: %v, %v", changed, before, after)
		}
	})
}
