package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mbk/internal/card"
	"mbk/internal/test/mariadbtest"
	"mbk/internal/test/smtptest"
)

// The commands of a restore card are run as they stand in the repository, and bring the server
// back: as it was at the end of the backup, one table, and at the last moment.
func TestCardBringsTheServerBack(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.Listen(t, newest(), "")
	srv.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, b TEXT)",
		"INSERT INTO shop.orders SELECT seq, 'right' FROM shop.seq_1_to_200")
	k := newKitchen(t, srv)
	repository := k.path("/backup/db1")
	mails := smtptest.Start(t, smtptest.Options{})
	id := document[taken](t, backupArgs(srv, repository, "--mail-to", "dba@example.org", "--notify", "always",
		"--mail-server", mails.Addr, "--mail-tls", "none")...).ID

	stored, err := os.ReadFile(filepath.Join(repository, "backups", id, "RESTORE.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if got := must(t, "card", "--repo", repository).stdout; got != string(stored) {
		t.Errorf("mbk card prints\n%s\nthe repository has\n%s", got, stored)
	}
	if got := mails.Mails(); len(got) != 1 || !strings.Contains(got[0].Data, "mbk restore "+id+" --target ") ||
		!strings.Contains(got[0].Data, "report.html") || !strings.Contains(got[0].Data, "multipart/alternative") {
		t.Errorf("%d mails, or one without the card: %+v", len(got), got)
	}
	orders := func(want string) {
		t.Helper()
		got := k.run(t, k.source, `mariadb -N -e "SELECT CONCAT(COUNT(*), MAX(b)) FROM shop.orders"`, false)
		if strings.TrimSpace(got) != want {
			t.Errorf("orders: %s, want %s", got, want)
		}
	}
	environment := commandsOf(t, string(stored), "Set these first")

	srv.MustExec(t, "UPDATE shop.orders SET b='wrong'", "DROP TABLE shop.orders")
	one := strings.ReplaceAll(commandsOf(t, string(stored), "One table"), "DATABASE.TABLE", "shop.orders")
	k.run(t, k.source, environment+one, false)
	orders("200right")

	srv.MustExec(t, "DROP DATABASE shop")
	k.run(t, k.source, environment+commandsOf(t, string(stored), "The whole server, as it was at the end"), false)
	orders("200right")
	old, err := filepath.Glob(strings.TrimSuffix(srv.Datadir, "/") + ".old-*")
	if err != nil || len(old) != 1 {
		t.Errorf("data directories that were moved aside: %q, %v", old, err)
	}

	// With an archive the card leads on to the last transaction.
	connect := " --repo " + repository + " --quiet"
	k.run(t, k.source, "mbk backup"+connect+" && mariadb -e \"UPDATE shop.orders SET b='written later'\" && "+
		"mbk archive --once"+connect+" && mariadb -e 'DROP DATABASE shop'", false)
	c := document[card.Card](t, "card", "latest", "--repo", repository)
	if len(c.Recipes) != 3 || c.Owner == "" || c.Datadir != k.path("/var/lib/mysql") {
		t.Fatalf("the card is %+v", c)
	}
	k.run(t, k.source, strings.Join(append(c.Environment, c.Recipes[1].Commands...), "\n"), false)
	orders("200written later")
}

// commandsOf returns the commands under a heading of a card.
func commandsOf(t *testing.T, text, heading string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + heading + `(?:.*\n)+?((?:    .*\n)+)`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("nothing under %q in\n%s", heading, text)
	}
	return found[1]
}

// In an encrypted repository the card says no name, a copy that is encrypted of one that is
// not, either; and it leads to the card that has all names.
func TestCardOfEncrypted(t *testing.T) {
	t.Parallel()
	source := mariadbtest.New(t, newest())
	source.MustExec(t, "CREATE DATABASE zebraledger", "CREATE TABLE zebraledger.t (a INT PRIMARY KEY)",
		"INSERT INTO zebraledger.t VALUES (7)")
	identity, recipient := newIdentity(t)
	clear, encrypted, copied := t.TempDir(), newEncrypted(t, recipient), newEncrypted(t, recipient)
	id := document[taken](t, backupArgs(source, encrypted)...).ID
	copiedID := document[taken](t, backupArgs(source, clear)...).ID
	must(t, "copy", copiedID, "--repo", clear, "--to", copied)
	must(t, "verify", copiedID, "--repo", copied, "--depth", "stored")
	for repository, id := range map[string]string{encrypted: id, copied: copiedID} {
		wantNoName(t, repository, namesOf(source, repository, source.Dist.Version))
		text, err := os.ReadFile(filepath.Join(repository, "backups", id, "RESTORE.txt"))
		if err != nil {
			t.Fatal(err)
		}
		if o := mbk(t, "card", "--repo", repository); o.code != 2 || !strings.Contains(o.stderr, "--identity") {
			t.Errorf("without an identity mbk card exits %d: %s", o.code, o.stderr)
		}
		k := newKitchen(t, source)
		target := filepath.Join(k.fresh, "data")
		set := strings.NewReplacer("REPOSITORY ", repository+" ", "=FILE ", "="+identity+" ", "DATADIR", target)
		environment := set.Replace(commandsOf(t, string(text), "Set these first"))
		whole := k.run(t, k.fresh, environment+commandsOf(t, string(text), "Print the card"), false)
		if !strings.Contains(whole, source.Datadir) || !strings.Contains(whole, "export MBK_IDENTITY="+identity) {
			t.Errorf("mbk card prints\n%s", whole)
		}
		k.run(t, k.fresh, environment+set.Replace(commandsOf(t, string(text), "The whole server")), false)
		if _, err := os.Stat(filepath.Join(target, "zebraledger", "t.ibd")); err != nil {
			t.Error(err)
		}
	}
}
