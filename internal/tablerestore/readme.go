package tablerestore

import (
	"fmt"
	"strings"
)

// readme says how the folder is used.
func (e *export) readme(r *Report) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("Tables of the backup %s of a MariaDB %s, written by mbk.", r.ID, r.Server)
	if r.Replay != nil {
		line("They are as they were at %s.", r.Replay.Moment)
	}
	line("\nTo bring them into a server, of the same release series or a newer one, which needs no mbk:")
	step := 0
	next := func(text string) {
		step++
		line("\n%d. %s\n", step, text)
	}
	next("In this folder make the tables, as an account with all privileges (SUPER). Tables that are there\n" +
		"   already stop the script, and stay as they are:")
	line("       mariadb --binary-mode --comments < %s", exportCreate)
	if e.copied {
		next("As root, copy the files into the server's data directory (SELECT @@datadir), as the server's user:")
		line("       cp -r %s/. /var/lib/mysql/", exportFiles)
		line("       chown -R --reference=/var/lib/mysql /var/lib/mysql/*/   # or only the databases below")
	}
	next("Fill the tables; this checks them, too, and makes what belongs to them:")
	local := ""
	if e.loaded {
		local = " --local-infile=1"
	}
	line("       mariadb --binary-mode --comments%s < %s", local, exportImport)
	if e.copied {
		next("Remove the *.cfg files that were copied. A server before 10.8 has to be restarted before the tables\n" +
			"   are used: what was imported is safe from a crash after the next checkpoint only.")
	}
	e.tell(line, r)
	return b.String()
}

// tell says what is in the folder, and what not.
func (e *export) tell(line func(format string, args ...any), r *Report) {
	if e.copied {
		line("\nIf the server is killed between steps 2 and 3 and does not start again (\"Attempted to open a previously\n" +
			"opened tablespace\"), remove the .ibd files that were copied, and begin again.")
	}
	line("\nIf a step fails, nothing else of the server is touched: drop the tables that it made, and begin again.")
	line("The scripts write nothing into the binary log: replicas do not get the tables.")
	line("Encrypted tables need the same keys on the server, and tables of plugins the plugins.")
	line("Foreign keys are not checked against the rows of tables that are not in this folder.")
	line("Privileges are not in this folder.")
	if len(r.LeftOut) > 0 {
		line("\nNot in this folder, because the name of the database in it cannot be changed safely:")
		for _, one := range r.LeftOut {
			line("  %s %s: %s", one.Kind, one.Name, one.Reason)
		}
	}
	line("\nTables:")
	for _, t := range r.Tables {
		line("  %s (%s): %d rows", t.Table, t.Way, t.Rows)
	}
}
