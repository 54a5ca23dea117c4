package cli

import (
	"reflect"
	"slices"
	"strings"

	"mbk/internal/archive"
	"mbk/internal/card"
	"mbk/internal/consolidate"
	"mbk/internal/contents"
	"mbk/internal/events"
	"mbk/internal/job"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/tablerestore"
	"mbk/internal/transfer"
	"mbk/internal/ui"
	"mbk/internal/verify"
)

// Flag is a flag of a command, for the test that compares the manual with the program.
type Flag struct {
	Command  string   // "backup"
	Names    []string // with their dashes, the long one first: "--repo", "-r"
	Category string   // the heading in the help, "" for the command's own flags
}

// Flags lists the flags of all commands that the help shows, in the order of the help.
func Flags() []Flag {
	var all []Flag
	p := newProgram(Env{Getenv: func(string) string { return "" }})
	for _, c := range visible(p.commands) {
		for _, o := range c.options.Options() {
			all = append(all, Flag{Command: c.name, Names: o.Dashed(), Category: o.Category})
		}
	}
	return all
}

// Document is a JSON document that a command prints.
type Document struct {
	Command string
	Schema  string // docs/schema/NAME.json describes it
	Zero    any    // the zero value of its type
}

// Documents lists what the commands print with --json, and as "progress" the
// lines of --progress=json and --log-format=json.
func Documents() []Document {
	documents := []struct {
		command string
		zero    any
	}{
		{"init", initDocument{}},
		{"recipients", recipientsDocument{}},
		{"backup", backupDocument{}},
		{"check", checkDocument{}},
		{"list", listDocument{}},
		{"show", showDocument{}},
		{"find", contents.Found{}},
		{"diff", contents.Difference{}},
		{"repo", repoDocument{}},
		{"history", historyDocument{}},
		{"report", reportDocument{}},
		{"verify", verify.Report{}},
		{"drill", verify.Report{}},
		{"verify", verifiedDocument{}}, // of several backups
		{"restore", restore.Result{}},
		{"restore", restore.Plan{}},        // with --dry-run
		{"restore", tablerestore.Report{}}, // with --into-server
		{"extract", restore.Extracted{}},
		{"expire", repo.Plan{}},
		{"pin", pinDocument{}},
		{"unpin", pinDocument{}},
		{"remove", repo.Removal{}},
		{"consolidate", consolidate.Result{}},
		{"copy", transfer.Result{}},
		{"send", transfer.Result{}},
		{"receive", transfer.Result{}},
		{"archive", archive.Result{}},
		{"archive", repo.ArchiveState{}}, // with --status
		{"events", events.Result{}},
		{"points", pointsDocument{}},
		{"card", card.Card{}},
		{"setup", setupDocument{}},
		{"notify-test", notifyTestDocument{}},
		{"notice", job.Notice{}}, // to programs and webhooks
		{"config", configDocument{}},
		{"progress", ui.ProgressEvent{}},
		{"progress", ui.Message{}},
	}
	var all []Document
	for _, d := range documents {
		one := Document{Command: d.command, Schema: d.command, Zero: d.zero}
		if slices.ContainsFunc(all, func(other Document) bool { return other.Schema == one.Schema }) {
			kind := strings.ToLower(reflect.TypeOf(d.zero).Name())
			one.Schema += "-" + strings.TrimSuffix(kind, "document") // such as "restore-plan"
		}
		all = append(all, one)
	}
	return all
}
