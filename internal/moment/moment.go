// Package moment finds moments in the archive of binary logs: which timeline leads from where a
// backup ends to a time or a transaction, through which segments, and exactly how far. A Path
// is the binary log between the two.
package moment

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/fault"
	"mbk/internal/hint"
)

// Moment is what somebody wants to go to.
type Moment struct {
	text  string
	kind  kind
	gtids binlog.Position // of kindGTID and kindBefore
	time  time.Time       // of kindTime

	file     string // of kindPosition
	offset   int64
	timeline string // the only one that is meant; "": any
}

type kind int

const (
	kindEnd      kind = iota // all that is archived
	kindGTID                 // after a transaction
	kindBefore               // before one
	kindPosition             // between two, by a place in the server's files
	kindTime                 // before the first transaction of that time or a later one
)

// String returns the moment as it was given.
func (m Moment) String() string { return m.text }

// ErrMoment is returned by Parse for a text that names no moment.
var ErrMoment = fault.New(fault.Config, "not a moment")

// layouts are the forms of a time with its zone.
func layouts() []string {
	return []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999 Z07:00",
		"2006-01-02 15:04:05.999999999 MST"}
}

// Parse reads a moment: "end", "gtid:0-1-23", "before-gtid:0-1-23", "position:binlog.000012:345", or
// a time, such as "2026-11-30T11:59:00Z" or, in the zone, "2026-11-30 11:59:00.5". The error is ErrMoment.
func Parse(text string, zone *time.Location) (Moment, error) {
	m := Moment{text: text}
	list, isGTID := strings.CutPrefix(text, "gtid:")
	before, isBefore := strings.CutPrefix(text, "before-gtid:")
	place, isPosition := strings.CutPrefix(text, "position:")
	var err error
	switch {
	case text == "end":
		return m, nil
	case isGTID:
		m.kind = kindGTID
		m.gtids, err = binlog.ParsePosition(list)
	case isBefore:
		m.kind = kindBefore
		m.gtids, err = binlog.ParsePosition(before)
	case isPosition:
		m.kind = kindPosition
		m.file, m.offset, err = parsePlace(place)
	default:
		m.kind = kindTime
		m.time, err = parseTime(text, zone)
	}
	if err == nil && (isGTID || isBefore) && len(m.gtids) != 1 {
		err = fmt.Errorf("%d GTIDs, want one", len(m.gtids))
	}
	if err != nil {
		return m, hint.Wrap(fmt.Errorf("%q: %w: %w", text, ErrMoment, err), "give a time, such as 2026-11-30T11:59:00Z or "+
			`"2026-11-30 11:59:00" in the zone of this machine, gtid:0-1-23, before-gtid:0-1-23, or end`)
	}
	return m, nil
}

// ParseTime reads a time as Parse does.
func ParseTime(text string, zone *time.Location) (time.Time, error) { return parseTime(text, zone) }

// parsePlace reads the name of a file of the binary log and an offset in it.
func parsePlace(text string) (file string, offset int64, err error) {
	colon := strings.LastIndexByte(text, ':')
	file = text[:max(colon, 0)]
	if _, ok := binlog.FileNumber(file); !ok || strings.Contains(file, "/") {
		return "", 0, fmt.Errorf("%.100q is not the name of a file of the binary log, as SHOW BINARY LOGS has it", file)
	}
	offset, err = strconv.ParseInt(text[colon+1:], 10, 64)
	if err != nil || offset < int64(len(binlog.Magic)) {
		return "", 0, fmt.Errorf("%.30q is not an offset in bytes, from %d on", text[colon+1:], len(binlog.Magic))
	}
	return file, offset, nil
}

// parseTime reads a time.
func parseTime(text string, zone *time.Location) (time.Time, error) {
	for _, layout := range layouts() {
		if t, err := time.Parse(layout, text); err == nil {
			// Of a zone's name only UTC says how far it is from UTC.
			if !strings.HasSuffix(layout, "MST") || strings.HasSuffix(text, " UTC") {
				return t, nil
			}
		}
	}
	for _, layout := range []string{"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04"} {
		t, err := time.ParseInLocation(layout, text, zone)
		if err != nil {
			continue
		}
		// In the hour that a clock is put back a time is twice.
		for _, shift := range []time.Duration{-time.Hour, time.Hour} {
			if other := t.Add(shift); other.Format(layout) == t.Format(layout) {
				return t, fmt.Errorf("it is twice in the zone %s, as the clock was put back: give it with its zone", zone)
			}
		}
		if asked, err := time.Parse(layout, text); err == nil && t.Format(layout) != asked.Format(layout) {
			return t, fmt.Errorf("there is no such time in the zone %s, as the clock was put forward", zone)
		}
		return t, nil
	}
	return time.Time{}, fmt.Errorf("it cannot be read as a time")
}

// GTID returns the transaction that is named, and whether one is.
func (m Moment) GTID() (g binlog.GTID, ok bool) {
	for _, g = range m.gtids {
		return g, true
	}
	return g, false
}

// Time returns the time that is named, and whether one is.
func (m Moment) Time() (time.Time, bool) { return m.time, m.kind == kindTime }
