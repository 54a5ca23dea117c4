package stage_test

import (
	"testing"

	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

func TestChecker(t *testing.T) {
	s := mariadbtest.New(t, mariadbtest.Versions()[0])
	s.MustExec(t, "CREATE DATABASE `a``b`", "CREATE TABLE `a``b`.`c d` (id INT PRIMARY KEY) ENGINE=InnoDB")
	server, err := stage.Connect(t.Context(), stage.Config{Socket: s.Socket, User: "root"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c, err := server.Checker(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, extended := range []bool{false, true} {
		got, err := c.Check(t.Context(), "a`b", "c d", extended)
		if err != nil || len(got) != 1 || got[0] != (stage.CheckMessage{Type: "status", Text: "OK"}) {
			t.Errorf("Check of a whole table = %v, %v", got, err)
		}
	}
	got, err := c.Check(t.Context(), "a`b", "none", false)
	if err != nil || len(got) != 2 || got[0].Type != "Error" || got[1].Text != "Operation failed" {
		t.Errorf("Check of no table = %v, %v", got, err)
	}
	if n, err := c.History(t.Context()); err != nil || n < 0 {
		t.Errorf("History = %d, %v", n, err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Check(t.Context(), "a`b", "c d", false); err == nil {
		t.Error("Check on a dead server: no error")
	}
}
