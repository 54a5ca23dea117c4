package stage_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

func TestMissingGrants(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		tables(t, srv)
		srv.MustExec(t, "CREATE ROLE saver",
			"GRANT RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR, SHOW VIEW ON *.* TO saver")
		const rest = "GRANT SELECT ON d.* TO "
		tests := []struct {
			name, account, grant string
			more                 string
			want                 []string
		}{
			{"all", "a@localhost", "ALL PRIVILEGES", "", nil},
			{"just enough", "b@localhost", "RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR, SHOW VIEW", "", nil},
			{"no reload", "c@localhost", "PROCESS, BINLOG MONITOR, SLAVE MONITOR, SHOW VIEW", "",
				[]string{"GRANT RELOAD ON *.* TO 'c'@'localhost'"}},
			{"no process", "d@localhost", "RELOAD, BINLOG MONITOR, SLAVE MONITOR, SELECT", "",
				[]string{"GRANT PROCESS ON *.* TO 'd'@'localhost'"}},
			{"no binlog monitor", "e@localhost", "RELOAD, PROCESS, SLAVE MONITOR, TRIGGER", "",
				[]string{"GRANT BINLOG MONITOR ON *.* TO 'e'@'localhost'"}},
			{"no slave monitor", "f@localhost", "RELOAD, PROCESS, BINLOG MONITOR, INSERT", "",
				[]string{"GRANT SLAVE MONITOR ON *.* TO 'f'@'localhost'"}},
			{"tables of one database visible", "g@localhost", "RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR",
				rest + "g@localhost", []string{"GRANT SHOW VIEW ON *.* TO 'g'@'localhost'"}},
			{"nothing, host pattern", "h@'%'", "USAGE", "",
				[]string{"GRANT RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR, SHOW VIEW ON *.* TO 'h'@'%'"}},
			{"by role", "i@localhost", "USAGE", "GRANT saver TO i@localhost", nil},
			{"quotes in the name", "`o'b@k`@localhost", "PROCESS, BINLOG MONITOR, SLAVE MONITOR, SHOW VIEW", "",
				[]string{"GRANT RELOAD ON *.* TO 'o''b@k'@'localhost'"}},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				srv.MustExec(t, "CREATE USER "+tt.account+" IDENTIFIED BY 'secret'", "GRANT "+tt.grant+" ON *.* TO "+tt.account)
				user := tt.account[:1]
				if tt.account[0] == '`' {
					user = "o'b@k"
				}
				if tt.more != "" {
					srv.MustExec(t, tt.more)
				}
				if tt.name == "by role" {
					srv.MustExec(t, "SET DEFAULT ROLE saver FOR i@localhost")
				}
				s, err := stage.Connect(t.Context(), stage.Config{Socket: srv.Socket, User: user, Password: "secret"})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				got, err := s.MissingGrants(t.Context())
				if err != nil || !slices.Equal(got, tt.want) {
					t.Fatalf("MissingGrants = %q, %v; want %q", got, err, tt.want)
				}
				srv.MustExec(t, got...) // what is advised can be run as it is
				s2, err := stage.Connect(t.Context(), stage.Config{Socket: srv.Socket, User: user, Password: "secret"})
				if err != nil {
					t.Fatal(err)
				}
				defer s2.Close()
				if got, err := s2.MissingGrants(t.Context()); err != nil || len(got) != 0 {
					t.Errorf("after the advice: MissingGrants = %q, %v", got, err)
				}
				everything(t, s2)
			})
		}
		t.Run("calls without privilege", func(t *testing.T) {
			srv.MustExec(t, "CREATE USER poor@localhost IDENTIFIED BY 'secret'")
			s, err := stage.Connect(t.Context(), stage.Config{Socket: srv.Socket, User: "poor", Password: "secret"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			_, binlog := s.Binlog(t.Context())
			_, replicas := s.Replicas(t.Context())
			st := begin(t, s, stage.StageOptions{})
			locker, err := s.Locker(t.Context(), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer locker.Close()
			watch, err := s.Watch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer watch.Close()
			for name, err := range map[string]error{
				"Binlog": binlog, "Replicas": replicas, "Advance": st.Advance(t.Context(), stage.Start),
				"Lock": locker.Lock(t.Context(), "d", "m"), "Checkpoint": s.Checkpoint(t.Context(), watch, 1<<60),
				"FlushEngineLogs": flushLogs(t.Context(), s),
			} {
				if !errors.Is(err, stage.ErrPrivilege) && !(name == "Checkpoint" && errors.Is(err, errors.ErrUnsupported)) {
					t.Errorf("%s: %v, want ErrPrivilege", name, err)
				}
			}
			if err := st.End(t.Context()); err != nil {
				t.Errorf("End after a refused START: %v", err)
			}
		})
	})
}

// everything makes every call that a backup makes.
func everything(t *testing.T, s *stage.Server) {
	t.Helper()
	ctx := t.Context()
	names, err := s.TableNames(ctx)
	if err != nil || !slices.Contains(names, stage.Table{Database: "d", Name: "m"}) ||
		!slices.Contains(names, stage.Table{Database: "mysql", Name: "db"}) {
		t.Errorf("TableNames = %v, %v; want d.m and mysql.db in it", names, err)
	}
	st := begin(t, s, stage.StageOptions{})
	advance(t, st, stage.Start)
	locker, err := s.Locker(ctx, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer locker.Close()
	watch, err := s.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	_, lsns := watch.LSNs(ctx)
	_, facts := s.Facts(ctx)
	locked, unlocked := locker.Lock(ctx, "d", "m"), locker.Unlock(ctx)
	advance(t, st, stage.BlockCommit)
	_, binlog := s.Binlog(ctx)
	_, replicas := s.Replicas(ctx)
	_, galera := s.Galera(ctx)
	if err := errors.Join(lsns, facts, locked, unlocked, binlog, replicas, galera, flushLogs(ctx, s),
		st.End(ctx)); err != nil {
		t.Error(err)
	}
}

// flushLogs is FlushEngineLogs for its error only.
func flushLogs(ctx context.Context, s *stage.Server) error {
	_, err := s.FlushEngineLogs(ctx)
	return err
}
