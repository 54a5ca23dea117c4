package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/repo"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
	"mbk/internal/ui"
)

type repoOptions struct {
	repository // the first
	names      []string
	others     []repository
	probe      bool
}

func (o *repoOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bindEach(s, u, &o.names, &o.others)
	s.Bool(&o.probe, "probe", "ask the store anew what it can do, which may write and remove small objects")
	fileOptions(s)
	outputOptions(s, u)
}

func repoCommand(p *program) *command {
	var o repoOptions
	return &command{
		name: "repo", summary: "show what a repository holds and what its store can do",
		usage: "mbk repo --repo REPO [--repo REPO]... [--probe]", examples: "mbk repo --repo s3://backups/db1 --json",
		options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run:     func(ctx context.Context) error { return runRepo(ctx, &o, p.ui) },
	}
}

// repoDocument is what "repo --json" prints: the first repository, and the others.
type repoDocument struct {
	shownRepository
	Others []shownRepository `json:"others"`
}

// shownRepository is what "repo --json" prints of one repository.
type shownRepository struct {
	Repository   string             `json:"repository"`
	Name         string             `json:"name"`            // in an option file, "" if it has none
	Error        string             `json:"error,omitempty"` // why it cannot be shown, if there are others
	Kind         string             `json:"kind"`            // "folder", "s3", "sftp"
	ID           string             `json:"id"`
	Format       int                `json:"format_version"`
	Created      time.Time          `json:"created"`
	Tool         string             `json:"tool"`
	Recipients   []string           `json:"recipients"` // none: it is not encrypted
	Capabilities store.Capabilities `json:"capabilities"`
	Probed       bool               `json:"probed"` // now, rather than when the repository was made
	Space        *repoSpace         `json:"space"`  // nil: not known
	Full         int                `json:"full_backups"`
	Incremental  int                `json:"incremental_backups"`
	Damaged      int                `json:"damaged_backups"` // or that need a damaged one, or cannot be read
	Pinned       int                `json:"pinned_backups"`
	BytesStored  int64              `json:"bytes_stored"` // of all backups
	Oldest       string             `json:"oldest"`       // id, "" if there is no backup
	Newest       string             `json:"newest"`
	Attempts     int                `json:"attempts"` // in the history
	Unfinished   []repo.Unfinished  `json:"unfinished"`
	LockedBy     string             `json:"locked_by"` // "": nobody holds the lock
}

// repoSpace is the room of a store in bytes.
type repoSpace struct {
	Free  int64 `json:"free"`
	Total int64 `json:"total"`
}

func runRepo(ctx context.Context, o *repoOptions, u *ui.UI) error {
	all := append([]repository{o.repository}, o.others...)
	if err := allNamed(all); err != nil {
		return err
	}
	shown, failed := make([]shownRepository, len(all)), error(nil)
	for i := range all {
		one, err := showRepository(ctx, &all[i], o.probe)
		if err != nil && len(all) == 1 || ctx.Err() != nil {
			return err
		}
		if err != nil { // the others are shown all the same
			place, _ := all[i].fullPath()
			one = shownRepository{Repository: place, Name: all[i].name, Error: ui.OneLine(err.Error()),
				Recipients: []string{}, Unfinished: []repo.Unfinished{}}
			failed = errors.Join(failed, err)
		}
		shown[i] = one
	}
	d := repoDocument{shown[0], append([]shownRepository{}, shown[1:]...)}
	return errors.Join(failed, u.Result(d, func() error { return printRepositories(u, shown) }))
}

// showRepository finds out about one repository.
func showRepository(ctx context.Context, from *repository, probe bool) (d shownRepository, err error) {
	r, err := from.open(ctx)
	if err != nil {
		return d, err
	}
	c := r.Config()
	d = shownRepository{
		Repository: r.String(), Name: from.name, Kind: "folder", ID: c.ID, Format: c.FormatVersion, Created: c.Created,
		Tool: c.Tool, Recipients: c.Recipients, Capabilities: c.Capabilities, Probed: probe,
	}
	if scheme, _, isURL := strings.Cut(from.path, "://"); isURL {
		d.Kind = scheme
	}
	if probe {
		if d.Capabilities, err = r.Capabilities(ctx); err != nil {
			return d, err
		}
	}
	return d, d.addContent(ctx, r)
}

// printRepositories prints each with an empty line between two, and last of each what is wrong.
func printRepositories(u *ui.UI, all []shownRepository) error {
	for i := range all {
		d := &all[i]
		if i > 0 {
			fmt.Fprintln(u.Stdout)
		}
		lines, bad := repoLines(d), ""
		if d.Error != "" {
			lines, bad = []string{"repository\t" + d.Repository}, "cannot be shown: "+d.Error
		}
		if d.Damaged > 0 {
			bad = "DAMAGED: " + ui.Count(d.Damaged, "backup") + ", see \"mbk list\""
		}
		if err := u.Rows(lines); err != nil {
			return err
		}
		if bad == "" {
			continue
		}
		if err := u.Bad(bad); err != nil {
			return err
		}
	}
	return nil
}

// addContent adds what is in the repository.
func (d *shownRepository) addContent(ctx context.Context, r *repo.Repository) (err error) {
	space, err := r.Space(ctx)
	if err != nil {
		return err
	}
	if space.Known {
		d.Space = &repoSpace{space.Free, space.Total}
	}
	list, err := r.List(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		b := &list[i]
		if b.Kind == repo.KindFull {
			d.Full++
		} else {
			d.Incremental++
		}
		if b.Problem != "" || b.Broken != "" || b.KnownDamaged() {
			d.Damaged++
		}
		if b.Pin != nil {
			d.Pinned++
		}
		d.BytesStored += b.BytesStored
	}
	if len(list) > 0 {
		d.Oldest, d.Newest = list[0].ID, list[len(list)-1].ID
	}
	attempts, err := r.Attempts(ctx)
	if err != nil {
		return err
	}
	d.Attempts = len(attempts)
	if d.Unfinished, err = r.Unfinished(ctx); err != nil {
		return err
	}
	d.LockedBy, err = r.Holder(ctx)
	return err
}

// repoLines describes a repository.
func repoLines(d *shownRepository) []string {
	lines := []string{"repository\t" + d.Repository}
	if d.Name != "" {
		lines = append(lines, "name\t"+d.Name)
	}
	lines = append(lines,
		fmt.Sprintf("kind\t%s, format %d", d.Kind, d.Format),
		"id\t"+d.ID,
		fmt.Sprintf("created\t%s by %s", d.Created.Local().Format(minutes), ui.OneLine(d.Tool)))
	lines = append(lines, recipientLines(d.Recipients)...)
	lines = append(lines,
		fmt.Sprintf("backups\t%d full, %d incremental, %s", d.Full, d.Incremental, ui.Size(d.BytesStored)))
	if d.Newest != "" {
		lines = append(lines, "oldest\t"+d.Oldest, "newest\t"+d.Newest)
	}
	if d.Pinned > 0 {
		lines = append(lines, "pinned\t"+ui.Count(d.Pinned, "backup"))
	}
	lines = append(lines, "history\t"+ui.Count(d.Attempts, "attempt"))
	for _, a := range d.Unfinished {
		what := "interrupted"
		if a.Running {
			what = "under way"
		}
		lines = append(lines, fmt.Sprintf("%s\t%s, %s", what, a.ID, ui.Size(a.Bytes)))
	}
	locked := "nobody"
	if d.LockedBy != "" {
		locked = ui.OneLine(d.LockedBy)
	}
	lines = append(lines, "locked by\t"+locked)
	if d.Space != nil {
		lines = append(lines, fmt.Sprintf("space\t%s free of %s", ui.Size(d.Space.Free), ui.Size(d.Space.Total)))
	} else {
		lines = append(lines, "space\tnot known")
	}
	return append(lines, abilityLines(d.Capabilities)...)
}

// abilityLines says what a store can do.
func abilityLines(c store.Capabilities) []string {
	can := func(able bool) string {
		if able {
			return "yes"
		}
		return "no"
	}
	lock := map[string]string{
		store.LockFlock: "a lock of the kernel, which ends with its process",
		store.LockLease: "a lease, which is renewed and taken over from a dead process",
	}[c.Lock]
	return []string{
		"lock\t" + lock, "conditional writes\t" + can(c.ConditionalPut), "Object Lock\t" + can(c.Retention),
	}
}

// recipientLines says for whom a repository is encrypted.
func recipientLines(recipients []string) []string {
	if len(recipients) == 0 {
		return []string{"encrypted to\tnobody: whoever can read the repository can read the backups"}
	}
	var lines []string
	for _, text := range recipients {
		lines = append(lines, "encrypted to\t"+agefile.Name(text))
	}
	return lines
}
