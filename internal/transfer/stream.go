package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store/memory"
	"mbk/internal/repo/store/stream"
	"mbk/internal/ui/meter"
)

// SendOptions say what is sent.
type SendOptions struct {
	From  *repo.Repository
	ID    string // of a backup, or repo.Latest; the backups that it needs are sent before it
	Since string // id of one of these, which the other end has, and those that it needs; "": none
	// Recipients are those to whom what is sent is encrypted, nil: those of From. If From is
	// encrypted to others, this takes an identity.
	Recipients *agefile.Recipients
	Out        io.Writer
	Name       string // of Out, for messages
	Tool       string // "mbk 0.1.0"

	OnProgress func(meter.Progress)
}

// ErrNotInChain is returned by Send if the backup does not need that of SendOptions.Since.
var ErrNotInChain = fault.New(fault.Config, "it is none of the backups that are to be sent")

// Send writes a stream of a backup, and of those that it needs, and returns what it wrote.
func Send(ctx context.Context, o SendOptions) (*Result, error) {
	id, err := o.From.Resolve(ctx, o.ID)
	if err != nil {
		return nil, err
	}
	st := NewStream(o.Out, o.Name)
	to := repo.FreshCopyOf(st, o.Tool, o.From)
	if o.Recipients != nil {
		to = repo.Fresh(st, o.Tool, o.Recipients)
	}
	to.OnWarning(func(string) {})
	if o.Since != "" {
		if o.Since, err = o.From.Resolve(ctx, o.Since); err != nil {
			return nil, err
		}
		if err := to.Presume(ctx, o.From, o.Since); err != nil {
			return nil, err
		}
	}
	release, err := to.Lock(ctx)
	if err != nil {
		return nil, err
	}
	result, err := Run(ctx, Options{From: o.From, To: to, ID: id, since: o.Since, OnProgress: o.OnProgress})
	return result, errors.Join(EndStream(ctx, st, err), release())
}

// NewStream returns a store that makes a stream of backups of what is put into it. name says in
// messages where it goes. The caller ends it with EndStream.
func NewStream(out io.Writer, name string) *stream.Store {
	return stream.NewStore(out, name, memory.Named(name), repo.KeptInStream)
}

// endTime limits how long the end of a stream may take to be written after an error.
const endTime = 5 * time.Second

// EndStream ends a stream: with err nil what was put counts. Otherwise it does not, and the
// other end is told why. It returns err, or why the stream could not be ended.
func EndStream(ctx context.Context, st *stream.Store, err error) error {
	if err == nil {
		return st.Close(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	_ = st.Abort(ctx, err) // if it cannot be told, the other end sees a stream that breaks off
	return err
}

// since leaves out of a chain, the oldest first, what the other end has.
func since(chain []string, id string) ([]string, error) {
	if id == "" {
		return chain, nil
	}
	i := slices.Index(chain, id)
	if i < 0 {
		return nil, hint.Wrap(fmt.Errorf("backup %s: %w", id, ErrNotInChain),
			hint.Textf("name with %s an older backup that it needs", hint.Option("since")))
	}
	return chain[i+1:], nil
}

// ReceiveOptions say what is received.
type ReceiveOptions struct {
	In   io.Reader
	Name string // of In, for messages
	// Open opens the repository that the backups are for, and locks it. from is what is known
	// of the one that they come from: its recipients.
	Open func(ctx context.Context, from *repo.Repository) (*repo.Repository, error)

	OnProgress func(meter.Progress)
}

// Receive reads a stream to its end and makes backups of one repository of what is in it. If
// it fails before that end none of them is listed, and what was written is removed, or
// left to the next repo.Repository.Sweep if that is not possible.
//
// Errors: those of stream.Read, *repo.OtherBackupError, *pack.DamageError for what is not
// what the label of its backup names.
func Receive(ctx context.Context, o ReceiveOptions) (*Result, error) {
	began := time.Now()
	counted := meter.New(o.OnProgress)
	result := &Result{From: o.Name, Backups: []repo.Imported{}, LeftOut: []LeftOut{}, Archive: noArchive()}
	open := func(ctx context.Context, from *repo.Repository) (*repo.Repository, error) {
		to, err := o.Open(ctx, from)
		if err == nil {
			result.To = to.String()
			counted.Begin(PhaseReceive, 0)
		}
		return to, err
	}
	arrival := repo.NewArrival(memory.Named(o.Name), open, counted.Add)
	err := stream.Read(ctx, o.In, arrival)
	if err == nil {
		var done []repo.Imported
		done, err = arrival.Commit(ctx)
		result.Backups = append(result.Backups, done...)
	}
	for i := range result.Backups {
		result.BytesWritten += result.Backups[i].Written
	}
	result.MS = time.Since(began).Milliseconds()
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	err = errors.Join(err, arrival.Discard(cleaning))
	if err != nil {
		return result, fmt.Errorf("receive: %w", err)
	}
	return result, nil
}
