package stage

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Status returns global status variables by their names in lower case. One that
// the server does not have is missing.
func (w *Watch) Status(ctx context.Context, names []string) (map[string]string, error) {
	if len(names) == 0 {
		return map[string]string{}, nil
	}
	args := make([]any, len(names))
	for i, name := range names {
		args[i] = name
	}
	list := "?" + strings.Repeat(", ?", len(names)-1)
	status, err := w.own.pairs(ctx, "SHOW GLOBAL STATUS WHERE LOWER(Variable_name) IN ("+list+")", args...)
	if err != nil {
		return nil, fmt.Errorf("read status variables: %w", err)
	}
	return status, nil
}

// Lag is how far a replication connection is behind its source.
type Lag struct {
	Connection string        // "" is the default one
	Behind     time.Duration // in whole seconds, without a delay that was asked for
}

// Name quotes the connection's name.
func (l Lag) Name() string { return quoteText(l.Connection) }

// Lags returns how far the replication connections are behind. One that does not
// know, because it is stopped or not connected, is left out.
func (w *Watch) Lags(ctx context.Context) ([]Lag, error) {
	all, err := w.own.rows(ctx, "SHOW ALL SLAVES STATUS")
	if err != nil {
		return nil, fmt.Errorf("read the state of replication: %w", err)
	}
	var lags []Lag
	for _, r := range all {
		behind, err := strconv.ParseInt(r.get("Seconds_Behind_Master"), 10, 64)
		if err != nil {
			continue // NULL
		}
		delay, err := strconv.ParseInt(r.get("SQL_Delay"), 10, 64)
		if err != nil {
			delay = 0 // NULL
		}
		late := time.Duration(max(behind-delay, 0)) * time.Second
		lags = append(lags, Lag{Connection: r.get("Connection_name"), Behind: late})
	}
	return lags, nil
}
