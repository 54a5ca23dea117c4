package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"mbk/internal/binlog"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/moment"
	"mbk/internal/primary"
	"mbk/internal/repo"
	"mbk/stage"
)

// Replay is the part of the binary log that leads from a backup to a moment.
type Replay struct {
	Moment   string    `json:"moment"`               // as it was named
	Timeline string    `json:"timeline"`             // of the archive, or the first of the server's files
	Files    string    `json:"binlog_dir,omitempty"` // the folder of these; "": it is the archive
	From     string    `json:"from"`                 // GTIDs at the end of the backup
	To       string    `json:"to"`                   // and at the moment
	Last     string    `json:"last,omitempty"`       // the last transaction; "" if none is replayed
	LastTime time.Time `json:"last_time,omitzero"`   // when that was committed
	Next     string    `json:"next,omitempty"`       // the first transaction that is not wanted, as far as it is known
	NextTime time.Time `json:"next_time,omitzero"`   // when that was committed
	Segments int       `json:"segments"`             // of the archive that are read, or files
	Bytes    int64     `json:"bytes"`                // of these, as they are stored
	Most     int64     `json:"transactions_at_most"` // in these segments
	Way      Way       `json:"way,omitempty"`        // how it was replayed; "" in a plan, or if there was nothing to do
}

// Way is how a log is replayed.
type Way string

// The ways, in the order in which they are tried.
const (
	WayParallel Way = "parallel" // as a replica, several transactions at a time
	WaySingle   Way = "single"   // as a replica, one after another
	WaySession  Way = "session"  // by mariadb-binlog and a client, in one session
)

// newReplay describes a path through the archive, or through a server's files.
func newReplay(m moment.Moment, p *moment.Path, files *moment.Files) *Replay {
	r := &Replay{Moment: m.String(), Timeline: p.Timeline, From: p.From.String(), To: p.To.String(),
		Segments: p.Segments, Bytes: p.Bytes, Most: p.Transactions}
	if files != nil {
		r.Files = files.Dir()
	}
	if !p.To.Equal(p.From) {
		r.Last, r.LastTime = p.Last.String(), p.LastTime
	}
	if !p.NextTime.IsZero() {
		r.Next, r.NextTime = p.Next.String(), p.NextTime
	}
	return r
}

// findMoment finds the part of the log that leads from the backup to Until, nil if that is not
// wanted. With repo.Latest it sets ID to the newest backup from which one does.
func (o *Options) findMoment(ctx context.Context) (*moment.Path, error) {
	if o.Until == nil {
		return nil, nil
	}
	path, err := o.findPath(ctx)
	if err != nil && passable(err) {
		err = o.withReachable(ctx, err)
	}
	return path, err
}

// log returns the binary log that leads to Until.
func (o *Options) log() moment.Log {
	if o.Binlog != nil {
		return o.Binlog
	}
	return o.Repository
}

// shownSpans limits the spans that an error lists.
const shownSpans = 4

// withReachable adds to an error which moments can be reached.
func (o *Options) withReachable(ctx context.Context, err error) error {
	backups, _, failed := moment.Backups(ctx, o.Repository)
	if failed != nil {
		return err
	}
	points, failed := moment.Reachable(ctx, o.log(), backups)
	if failed != nil {
		return err
	}
	list := hint.Text(`"mbk points"`)
	if o.Binlog != nil {
		list += " with " + hint.Option("binlog-dir")
	}
	spans := slices.DeleteFunc(points.Spans, func(s moment.Span) bool { return s.Last.IsZero() })
	if len(spans) == 0 {
		if o.Binlog == nil {
			err = hint.Wrap(err, "the server's own binary log may lead there: "+hint.Option("binlog-dir")+" DIR")
		}
		return hint.Wrap(err, "no backup leads to any later moment; "+list+" says why")
	}
	text := "what can be reached:"
	for i := range spans[max(len(spans)-shownSpans, 0):] {
		text += " " + spans[max(len(spans)-shownSpans, 0)+i].String() + ";"
	}
	return hint.Wrap(err, hint.Text(text+" ")+list+" lists all")
}

// findPath finds the path to Until.
func (o *Options) findPath(ctx context.Context) (*moment.Path, error) {
	if o.ID != repo.Latest {
		return o.pathFrom(ctx, o.ID)
	}
	ids, err := o.Repository.IDs(ctx)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return o.pathFrom(ctx, o.ID) // which says so
	}
	// The newest backup must not decide which of two histories is meant.
	until, err := moment.Resolve(ctx, o.log(), *o.Until)
	if err != nil {
		return nil, err
	}
	o.Until = &until
	var first error
	for _, id := range slices.Backward(ids) {
		v, err := o.Repository.Standing(ctx, id)
		if err != nil {
			return nil, err
		}
		if v != nil && !v.OK && !o.AllowDamaged {
			continue
		}
		path, err := o.pathFrom(ctx, id)
		switch {
		case err == nil:
			o.ID = id
			return path, nil
		case !passable(err):
			return nil, err
		case first == nil || errors.Is(first, moment.ErrTooLate):
			first = err
		}
	}
	if first == nil {
		first = fault.New(fault.Config, "all backups are known to be damaged")
	}
	return nil, fmt.Errorf("no backup in %s leads to %q: %w", o.Repository, o.Until, first)
}

// passable reports whether another backup may do after an error about one.
func passable(err error) bool {
	_, unreachable := errors.AsType[*moment.UnreachableError](err)
	return unreachable || errors.Is(err, moment.ErrTooLate) || errors.Is(err, errNoPosition) ||
		errors.Is(err, repo.ErrRemoved)
}

// errNoPosition is returned for a backup without a position of a binary log.
var errNoPosition = fault.New(fault.Config, "the server wrote no binary log when the backup was taken")

// pathFrom returns the part of the log from the end of a backup to Until.
func (o *Options) pathFrom(ctx context.Context, id string) (*moment.Path, error) {
	m, err := o.Repository.Manifest(ctx, id)
	if err != nil {
		return nil, err
	}
	if m.Binlog == nil {
		return nil, fmt.Errorf("backup %s: %w", m.ID, errNoPosition)
	}
	if t, ok := o.Until.Time(); ok && t.Before(m.Finished) {
		err := fmt.Errorf("backup %s ended at %s: %w", m.ID, m.Finished.UTC().Format(time.RFC3339), moment.ErrTooLate)
		return nil, hint.Wrap(&tooLateError{err}, `name "latest", which takes the newest backup before the moment`)
	}
	from, err := binlog.ParsePosition(m.Binlog.GTID)
	if err != nil {
		return nil, fmt.Errorf("backup %s: position of the binary log: %w", m.ID, err)
	}
	path, err := moment.Find(ctx, o.log(), *o.Until, moment.Start{At: from, Finished: m.Finished,
		ServerID: m.Server.ServerID, Log: m.Binlog.File, Offset: int64(m.Binlog.Position)})
	if err != nil {
		return nil, fmt.Errorf("backup %s: %w", m.ID, err)
	}
	return path, nil
}

// tooLateError is a mistake in the call.
type tooLateError struct{ error }

// Unwrap returns the cause.
func (e *tooLateError) Unwrap() error { return e.error }

// Fault says that another backup has to be named.
func (e *tooLateError) Fault() fault.Kind { return fault.Config }

// relayRoom is the most bytes that the server keeps of the log while it works on it.
const relayRoom = 1 << 30

// addReplay adds the replay to the plan, and what stands against it.
func (p *Plan) addReplay(path *moment.Path) {
	if path == nil {
		return
	}
	p.path, p.Replay = path, newReplay(*p.opts.Until, path, p.opts.Binlog)
	if p.opts.Binlog != nil {
		for _, text := range p.opts.Binlog.Warnings() {
			p.warn("the binary log: %s", text)
		}
	}
	p.SpaceNeeded += min(path.RawBytes(), relayRoom) + path.RawBytes()
	object := func(problem string, advice hint.Text) { p.addObjection(Objection{Problem: problem, Hint: advice}) }
	switch {
	case !p.opts.Filter.Empty() || p.manifest.Filter != nil:
		object("a part of the tables cannot be brought to a later moment: the log is about all of them",
			"restore everything elsewhere, and take the tables from there")
	case p.Raw:
		object("a moment after the backup takes the recovery, which is to be left to the server",
			"restore without "+hint.Option("no-recover"))
	case p.opts.GaleraNode:
		object("a node of the cluster is at the position of the backup, not at a later moment",
			"restore without "+hint.Option("galera-node"))
	}
	p.note("the replay adds data: how much room it takes in the end is not known")
}

// GoOn has the server go on from the end of the backup to the moment of the plan, and returns
// what has exactly that. What fails is done again, from the backup on, in a simpler way. The caller
// closes what is returned, and no longer b. After an error both are closed.
func (p *Plan) GoOn(ctx context.Context, b *Prepared) (*Prepared, error) {
	if p.path == nil || p.path.To.Equal(p.path.From) {
		return b, nil // the backup is of that moment
	}
	began := time.Now()
	ways := waysOf(p.path)
	var notes []hint.Text
	for i, way := range ways {
		err := b.replay(ctx, way)
		if err == nil {
			p.Replay.Way = way
			b.Notes, b.elapsed.Replay = append(b.Notes, notes...), time.Since(began).Milliseconds()
			return b, nil
		}
		again := i+1 < len(ways) && ctx.Err() == nil && simpler(err)
		if again && ways[i+1] == WaySession {
			if _, lacking := p.Mariadbd.Clients(); lacking != nil {
				again, err = false, hint.Wrap(err, hint.Textf("%v: with them it could be tried in one session", lacking))
			}
		}
		if err2 := b.Close(p.opts.KeepOnFailure && !again); err2 != nil || !again {
			return nil, errors.Join(err, err2)
		}
		notes = append(notes, hint.Textf("the replay failed in the way %q, and began again from the backup on in the "+
			"way %q: %v", way, ways[i+1], err))
		if b, err = p.Prepare(ctx); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// waysOf returns the ways in which a path may be replayed. Parallel threads keep the order of
// the transactions of one domain, and no order between domains: a statement of one that reads
// what another has written could find it before or after that.
func waysOf(path *moment.Path) []Way {
	ways := []Way{WayParallel, WaySingle, WaySession}
	if path.Domains() > 1 {
		return ways[1:]
	}
	return ways
}

// simpler reports whether a replay may succeed in a simpler way.
func simpler(err error) bool {
	stopped, ok := errors.AsType[*stage.ReplicationError](err)
	_, died := errors.AsType[*mariadbd.RunError](err)
	return ok && stopped.Thread == "SQL" || died && fault.Of(err) != fault.Damage
}

// replay replays the log in one way.
func (b *Prepared) replay(ctx context.Context, way Way) error {
	b.meter.Begin(PhaseReplay, 0)
	defer b.meter.End()
	id := 1<<31 + rand.Uint32N(1<<31-1) // that no server of a human being has
	options := b.replayOptions(id, way)
	b.instance.Grants = true // statements about accounts and events fail otherwise
	server, err := b.Serve(ctx, options...)
	b.instance.Grants = false
	if err != nil {
		return b.plan.Advise(err)
	}
	defer server.Close()
	var before []string
	if before, err = server.SQL.DisabledEvents(ctx); err != nil {
		return err
	}
	if way == WaySession {
		err = b.applyIn(ctx, server)
	} else {
		err = b.replicate(ctx, server, id+1)
	}
	if err != nil {
		return b.replayError(ctx, err, server.Blame)
	}
	after, err := server.SQL.DisabledEvents(ctx)
	if err != nil {
		return err
	}
	for _, name := range after {
		if !slices.Contains(before, name) {
			b.Notes = append(b.Notes, hint.Textf("the event %s was created or altered by the replay, and does not run: "+
				"if it did on the source, ALTER EVENT %s ENABLE", name, name))
		}
	}
	if err := server.SQL.DropAccount(ctx, server.Account); err != nil {
		return err
	}
	if err := server.Stop(ctx); err != nil {
		return err
	}
	return b.dropReplication()
}

// replicate has the server replicate the log from a primary, which we are.
func (b *Prepared) replicate(ctx context.Context, server *mariadbd.Server, id uint32) (err error) {
	path := b.plan.path
	from, err := primary.Listen(primary.Options{Source: path, ServerID: id, Version: b.plan.manifest.Server.Version})
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		err = errors.Join(err, from.Close())
	}()
	go from.Serve(serving)
	err = server.SQL.Replicate(ctx, stage.Replication{
		Port: from.Port(), User: primary.User, Password: from.Password(), From: path.From, To: path.To,
		Failure: from.Failure, Progress: func(at binlog.Position) { b.meter.Say("at GTID "+at.String(), 0, 0) },
	})
	if err != nil {
		err = errors.Join(from.Failure(), err)
	}
	return err
}

// applyIn has a client carry out the log in one session.
func (b *Prepared) applyIn(ctx context.Context, server *mariadbd.Server) error {
	clients, err := b.instance.Program.Clients()
	if err != nil {
		return err
	}
	path := b.plan.path
	err = server.Apply(ctx, clients, func(w io.Writer) error {
		if _, err := io.WriteString(w, binlog.Magic); err != nil {
			return err
		}
		_, err := path.Send(ctx, path.From, func(event []byte) error {
			_, err := w.Write(event)
			return err
		})
		return err
	})
	if err != nil {
		return err
	}
	return server.SQL.SetReplicated(ctx, path.To)
}

// replicationList is the file in which a server lists what it replicates, by names.
const replicationList = "multi-master.info"

// dropReplication removes the one file about the replication that the server has put into the
// data directory.
func (b *Prepared) dropReplication() error {
	if slices.ContainsFunc(b.plan.manifest.Files, func(f repo.File) bool { return f.Path == replicationList }) {
		return nil
	}
	err := b.scratch.tree.as.Do(func() error { return os.Remove(filepath.Join(b.instance.Data, replicationList)) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", replicationList, err)
	}
	return nil
}

// replayError says what became of a replay.
func (b *Prepared) replayError(ctx context.Context, err error, blame func(error) error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err = fmt.Errorf("replay from %s to %s: %w", b.plan.Replay.From, b.plan.Replay.To, err)
	if stopped, ok := errors.AsType[*stage.ReplicationError](err); ok {
		return hint.Wrap(err, hint.Textf("nothing was placed; a moment that can be reached is gtid:GTID of the last "+
			"transaction before that: it stopped after %s", stopped.At))
	}
	if fault.Of(err) == fault.Damage {
		return err
	}
	return b.plan.Advise(blame(err))
}

// replayOptions are the options of the server that replicates. Nothing of it is in the data
// directory, and if the machine crashes everything is done again.
func (b *Prepared) replayOptions(id uint32, way Way) []string {
	threads := 0
	if way == WayParallel {
		threads = min(max(runtime.GOMAXPROCS(0), 2), 16)
	}
	tmp := b.instance.Beside()
	return []string{
		fmt.Sprintf("--server-id=%d", id),
		"--relay-log=" + tmp + "/relay", "--relay-log-index=" + tmp + "/relay.index",
		"--relay-log-info-file=" + tmp + "/relay.info", "--master-info-file=" + tmp + "/master.info",
		fmt.Sprintf("--relay-log-space-limit=%d", relayRoom), "--max-relay-log-size=67108864",
		fmt.Sprintf("--slave-parallel-threads=%d", threads), "--slave-parallel-mode=optimistic",
		"--slave-ddl-exec-mode=STRICT", "--slave-net-timeout=3600",
		"--slave-max-allowed-packet=1073741824", "--max-allowed-packet=1073741824",
		"--innodb-flush-log-at-trx-commit=0", "--sync-master-info=0", "--sync-relay-log=0", "--sync-relay-log-info=0",
	}
}

// String says what a replay does, for the plan and the result.
func (r *Replay) String() string {
	size := humanize.IBytes(uint64(r.Bytes))
	switch {
	case r.Last == "":
		return "nothing: the backup is of that moment"
	case r.Files != "":
		return fmt.Sprintf("%d files, %s, of the binary log in %s", r.Segments, size, r.Files)
	}
	return fmt.Sprintf("%d segments, %s, of the timeline %s", r.Segments, size, r.Timeline)
}
