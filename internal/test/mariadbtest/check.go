package mariadbtest

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// purgePatience bounds the wait for InnoDB's purge before tables are checked.
const purgePatience = time.Minute

// CheckTables waits until InnoDB's purge is idle, since before that CHECK TABLE
// warns of records not yet purged, and then has every table and view checked with
// CHECK TABLE EXTENDED. It returns a line for each complaint of the server.
func CheckTables(ctx context.Context, s *Server) (findings []string, err error) {
	if err := s.WaitForPurge(ctx); err != nil {
		return nil, err
	}
	tables, err := s.query(ctx,
		"SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA "+realSchemas+
			" ORDER BY 1, 2")
	if err != nil {
		return nil, fmt.Errorf("check tables: %w", err)
	}
	for _, t := range tables {
		name := quote(t[0], t[1])
		rows, err := s.query(ctx, "CHECK TABLE "+name+" EXTENDED")
		if err != nil {
			return nil, fmt.Errorf("CHECK TABLE %s: %w", name, err)
		}
		for _, row := range rows { // table, operation, kind of message, message
			if row[2] == "note" || row[2] == "status" && row[3] == "OK" || isPurgeGarbage(s.Dist.Version, row[2], row[3]) {
				continue
			}
			findings = append(findings, fmt.Sprintf("%s: %s: %s", name, row[2], row[3]))
		}
	}
	return findings, nil
}

// isPurgeGarbage reports whether a message of CHECK TABLE is about a delete-marked
// record of a secondary index (bit 32) which purge has forgotten (MDEV-29823).
// Sound servers have such records, after a crash most of all; no query sees
// them. A record that is not delete-marked must have a row, and is reported.
// Some servers that never crashed have rows, too, that name a transaction whose
// history is purged (10.6, 10.11.7, 11.4; not 10.11.19, 11.8.6).
func isPurgeGarbage(version, kind, message string) bool {
	return kind == "Warning" && (strings.Contains(message, "Clustered index record not found for index") &&
		strings.Contains(message, "(info_bits=32,") ||
		(strings.HasPrefix(version, "10.6.") || version == "10.11.7" || strings.HasPrefix(version, "11.4.")) &&
			strings.Contains(message, "Clustered index record with stale history"))
}

// WaitForPurge waits until InnoDB has no history left to purge, a minute at
// most; an open transaction holds purge up.
func (s *Server) WaitForPurge(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, purgePatience)
	defer cancel()
	// This setting does not last: setting it is waiting, and wakes purge up.
	q := []string{"SET GLOBAL innodb_max_purge_lag_wait=0"}
	if strings.HasPrefix(s.Dist.Version, "10.5.") {
		// There, history that was purged counts until it is truncated.
		const often = "SET GLOBAL innodb_purge_rseg_truncate_frequency="
		q = []string{often + "1", q[0], often + "DEFAULT"}
	}
	if err := s.Exec(ctx, q...); err != nil {
		return fmt.Errorf("wait for purge: %w", err)
	}
	return nil
}

// CheckInvariants returns what is wrong with data that Write has been changing.
// Its rules hold at every instant, so they can be checked on a restored server
// before anything is replayed: no money is lost between the banks, each account
// agrees with the journal, each child has its parent.
func CheckInvariants(ctx context.Context, s *Server) ([]string, error) {
	var findings []string
	total := []string{}
	for i, bank := range bankTables() {
		total = append(total, "SELECT SUM(balance) AS b FROM "+quote(loadDB, bank))
		wrong, err := s.Value(ctx, fmt.Sprintf(`SELECT COUNT(*) FROM %s a LEFT JOIN
			(SELECT account, SUM(amount) AS moved FROM %s WHERE bank = %d GROUP BY account) j ON j.account = a.id
			WHERE a.balance <> %d + IFNULL(j.moved, 0)`, quote(loadDB, bank), quote(loadDB, "journal"), i, bankStart))
		if err != nil {
			return nil, err
		}
		if wrong != "0" {
			findings = append(findings, fmt.Sprintf("%s: %s accounts do not agree with the journal", bank, wrong))
		}
	}
	sum, err := s.Value(ctx, "SELECT SUM(b) FROM ("+strings.Join(total, " UNION ALL ")+") t")
	if err != nil {
		return nil, err
	}
	if want := fmt.Sprint(len(bankTables()) * bankAccounts * bankStart); sum != want {
		findings = append(findings, fmt.Sprintf("banks: they hold %s, want %s", sum, want))
	}
	orphans, err := s.Value(ctx, "SELECT COUNT(*) FROM "+quote(loadDB, "child")+" c LEFT JOIN "+quote(loadDB, "parent")+
		" p ON p.id = c.parent WHERE c.parent IS NOT NULL AND p.id IS NULL")
	if err != nil {
		return nil, err
	}
	if orphans != "0" {
		findings = append(findings, "child: "+orphans+" rows without a parent")
	}
	return findings, nil
}
