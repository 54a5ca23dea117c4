// Package card writes the restore card of a backup: what it takes to get the server back, and
// the exact commands. It restores nothing itself.
package card

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// Place says where the repository is and how a program reaches it.
type Place struct {
	Repository string   // a folder with its full path, or a URL; "" if that is not known
	Variables  []string // settings of mbk for it, as NAME=VALUE of the environment
	Store      string   // what it is, by the scheme of the URL: "s3", "sftp", "" of a folder
	Identities []string // files of identities that open it, as far as they are known
	Encrypted  bool
	Archive    bool // it has an archive of binary logs
}

// Card is the restore card of a backup. Commands are lines for a shell, run by root on the
// machine of the server.
type Card struct {
	ID          string    `json:"id"`
	AsOf        time.Time `json:"as_of"` // the moment that a restore brings back
	Repository  string    `json:"repository"`
	Version     string    `json:"server_version"`
	Hostname    string    `json:"hostname"`
	Datadir     string    `json:"datadir"`
	Owner       string    `json:"owner"` // user and group of the data directory, "" if not known
	Size        int64     `json:"size"`  // bytes of the files that a restore creates
	Tables      int       `json:"tables"`
	Needs       []string  `json:"needs"`    // what must be there, in sentences
	Settings    []string  `json:"settings"` // lines that the server's configuration needs
	Environment []string  `json:"environment"`
	Recipes     []Recipe  `json:"recipes"`
}

// Recipe is one way of getting something back.
type Recipe struct {
	Title    string   `json:"title"`
	Commands []string `json:"commands"`
}

// New returns the card of a backup that is in a repository.
func New(m *repo.Manifest, p Place) Card {
	c := Card{ID: m.ID, AsOf: m.Finished.UTC(), Repository: p.Repository, Version: m.Server.Version,
		Hostname: m.Server.Hostname, Datadir: path.Clean(m.Server.Datadir), Owner: m.Server.Owner, Tables: len(m.Tables),
		Settings: restore.Config(m)}
	for i := range m.Files {
		c.Size += m.Files[i].Size
	}
	c.Environment = environment(p)
	c.Needs = needs(m, p, &c)
	c.Recipes = recipes(m, p, &c)
	return c
}

// In completes the place of a repository that is open. What cannot be found out is left as it
// is: a card that says less is better than none.
func (p Place) In(ctx context.Context, r *repo.Repository) Place {
	p.Encrypted = r.Encrypted()
	timelines, err := r.Timelines(ctx)
	p.Archive = err == nil && len(timelines) > 0
	return p
}

// environment are the settings for all commands.
func environment(p Place) []string {
	lines := []string{"export MBK_REPO=REPOSITORY"}
	if p.Repository != "" {
		lines[0] = "export MBK_REPO=" + printable.Word(p.Repository)
	}
	for _, v := range p.Variables {
		name, value, _ := strings.Cut(v, "=")
		lines = append(lines, "export "+name+"="+printable.Word(value))
	}
	switch {
	case len(p.Identities) > 0:
		lines = append(lines, "export MBK_IDENTITY="+printable.Word(p.Identities[0]))
	case p.Encrypted:
		lines = append(lines, "export MBK_IDENTITY=FILE")
	}
	return lines
}

// needs says what must be there before the first command.
func needs(m *repo.Manifest, p Place, c *Card) []string {
	list := []string{fmt.Sprintf("the repository, or a copy of it: then MBK_REPO is the place of the copy, %s",
		"a folder, s3://BUCKET/PREFIX or sftp://USER@HOST/PATH")}
	switch p.Store {
	case "s3":
		list = append(list, "credentials for the object store, where AWS's own programs look for them: "+
			"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials")
	case "sftp":
		list = append(list, "a key that logs in to the SSH server, and that server in ~/.ssh/known_hosts")
	}
	if p.Encrypted {
		list = append(list, "an identity: the file with the private key for one of the repository's recipients, "+
			"which \"mbk recipients\" lists; its name is in MBK_IDENTITY")
	}
	list = append(list, m.Tool+" or later", server(m.Server.Version),
		fmt.Sprintf("%s of room beside %s, and as much again if the old files stay", ui.Size(c.Size), c.Datadir))
	for _, l := range c.Settings {
		if library, ok := strings.CutPrefix(l, "plugin_load_add = "); ok {
			list = append(list, "the server's plugin "+library)
		}
	}
	for _, file := range restore.KeyFiles(m) {
		list = append(list, "the file "+file+" with the keys of tables that are encrypted at rest; "+
			"it is not in the backup")
	}
	if len(m.LeftOut) > 0 {
		list = append(list, ui.Count(len(m.LeftOut), "table")+" of the server from elsewhere: this backup does not hold "+
			"them, and \"mbk show\" names them")
	}
	return list
}

// server says which server program a restore needs.
func server(version string) string {
	v, err := stage.ParseVersion(version)
	if err != nil {
		return "the MariaDB server " + version
	}
	return fmt.Sprintf("MariaDB %d.%d.%d or a later %d.%d (mariadbd); for a newer series add%s to the commands",
		v.Major, v.Minor, v.Patch, v.Major, v.Minor, flag("upgrade", ""))
}

// recipes are the ways of getting the server back, or a table of it.
func recipes(m *repo.Manifest, p Place, c *Card) []Recipe {
	target := flag("target", printable.Word(c.Datadir)) + flag("keep-old", "")
	if user, _, _ := strings.Cut(c.Owner, ":"); user != "" && user != "mysql" {
		target += flag("owner", printable.Word(c.Owner))
	}
	whole := func(command string) []string {
		return []string{"systemctl stop mariadb", command, "systemctl start mariadb"}
	}
	list := []Recipe{{"The whole server, as it was at the end of this backup; the files that are there are moved aside",
		whole("mbk restore " + m.ID + target)}}
	if p.Archive {
		list = append(list, Recipe{"The whole server, as it was at a later moment: here the last one; or a time such as " +
			"'2026-11-30 11:59', or before-gtid:GTID of a mistake that \"mbk events\" finds",
			append([]string{"mbk points"}, whole("mbk restore latest"+target+flag("until", "end"))...)})
	}
	return append(list, Recipe{"One table, into the running server; add" + flag("replace", "") +
		" if a table of that name is there",
		[]string{"mbk restore " + m.ID + flag("table", "DATABASE.TABLE") + flag("into-server", "")}})
}

// flag writes an option of mbk's command line, with a value unless that is "": a card is for a
// shell, whoever prints it.
func flag(name, value string) string {
	if value != "" {
		value = " " + value
	}
	return " --" + name + value
}

// Columns of the text.
const (
	width      = 78
	labelWidth = 12
)

// Text is the card for people, who may have nothing else. It is ASCII but for names.
func (c *Card) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "RESTORE CARD of the backup %s\n\n", c.ID)
	for _, row := range [][2]string{
		{"server", "MariaDB " + c.Version + " at " + c.Hostname},
		{"as of", c.AsOf.Format("2006-01-02 15:04:05 UTC")},
		{"data", c.files()},
		{"repository", c.Repository},
	} {
		if row[1] != "" {
			fmt.Fprintf(&b, "%-*s%s", labelWidth, row[0],
				strings.TrimLeft(ui.Wrap(ui.OneLine(row[1]), labelWidth, width), " "))
		}
	}
	b.WriteString("\nYou need\n")
	for _, n := range c.Needs {
		b.WriteString("  - " + strings.TrimLeft(ui.Wrap(ui.OneLine(n), 4, width), " "))
	}
	if len(c.Settings) > 0 {
		block(&b, "In the group [mariadbd] of the server's configuration, before it starts", c.Settings)
	}
	block(&b, "Set these first, in the shell of root", c.Environment)
	for _, r := range c.Recipes {
		block(&b, r.Title, r.Commands)
	}
	if !slices.ContainsFunc(c.Recipes, Recipe.toMoment) {
		b.WriteString("\nThe repository has no archive of the binary log: there is no way to a later moment.\n")
	}
	return printable.Lines(b.String())
}

// toMoment reports whether a recipe goes on from the backup.
func (r Recipe) toMoment() bool {
	return slices.ContainsFunc(r.Commands, func(c string) bool { return strings.Contains(c, flag("until", "end")) })
}

// files describes what a restore makes.
func (c *Card) files() string {
	text := fmt.Sprintf("%s, %s, %s", c.Datadir, ui.Size(c.Size), ui.Count(c.Tables, "table"))
	if c.Owner != "" {
		text += ", of " + c.Owner
	}
	return text
}

// block writes a heading and lines to copy.
func block(b *strings.Builder, title string, lines []string) {
	b.WriteString("\n" + ui.Wrap(title, 0, width))
	for _, l := range lines {
		b.WriteString("    " + l + "\n")
	}
}
