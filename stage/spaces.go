package stage

import (
	"context"
	"fmt"
	"strconv"

	"mbk/internal/innodb"
)

// InnoDBTables lists InnoDB's dictionary, except the tables of InnoDB itself.
func (s *Server) InnoDBTables(ctx context.Context) ([]innodb.Table, error) {
	all, err := s.control.rows(ctx,
		"SELECT TABLE_ID, NAME, SPACE FROM information_schema.INNODB_SYS_TABLES WHERE NAME LIKE '%/%'")
	if err != nil {
		return nil, fmt.Errorf("list InnoDB's tables: %w", err)
	}
	tables := make([]innodb.Table, len(all))
	for i, r := range all {
		id, err := strconv.ParseUint(r.at(0), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("list InnoDB's tables: table %q: %w", r.at(0), err)
		}
		space, err := strconv.ParseUint(r.at(2), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("list InnoDB's tables: tablespace %q: %w", r.at(2), err)
		}
		tables[i] = innodb.Table{ID: id, Name: r.at(1), Space: innodb.SpaceID(space)}
	}
	return tables, nil
}

// Discarded lists the tables whose tablespace is discarded, by their names on
// disk: "database/table". A file at such a table's place is not the server's: it
// was put there for an import. The list is a glance unless BLOCK_DDL is held.
func (s *Server) Discarded(ctx context.Context) ([]string, error) {
	// A discarded table has lost the root pages of its indexes. The first of
	// them (TYPE 1) is looked at: a secondary one has no root page either while
	// it is being made, nor has one of FULLTEXT ever.
	const without = " FROM information_schema.INNODB_SYS_INDEXES " +
		"WHERE TYPE & 1 AND (PAGE_NO IS NULL OR PAGE_NO = 4294967295)"
	ids, err := s.control.rows(ctx, "SELECT TABLE_ID"+without)
	if err != nil {
		return nil, fmt.Errorf("list discarded tablespaces: %w", err)
	}
	if len(ids) == 0 {
		return nil, nil // as ever; the join takes three times as long
	}
	all, err := s.control.rows(ctx,
		"SELECT NAME FROM information_schema.INNODB_SYS_TABLES WHERE TABLE_ID IN (SELECT TABLE_ID"+without+")")
	if err != nil {
		return nil, fmt.Errorf("list discarded tablespaces: %w", err)
	}
	names := make([]string, 0, len(all))
	for _, r := range all {
		names = append(names, r.at(0))
	}
	return names, nil
}

// ExternalSpaces lists the paths of the tablespaces that the server keeps outside of its
// data directory because of DATA DIRECTORY, as far as it has them open; up to 10.5
// all that its dictionary names. v is the server's version.
func (s *Server) ExternalSpaces(ctx context.Context, v Version) ([]string, error) {
	query := "SELECT FILENAME FROM information_schema.INNODB_SYS_TABLESPACES WHERE FILENAME LIKE '/%.ibd'"
	if !v.AtLeast(10, 6, 0) {
		query = "SELECT PATH FROM information_schema.INNODB_SYS_DATAFILES WHERE PATH LIKE '/%.ibd'"
	}
	all, err := s.control.rows(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("list tablespaces outside of the data directory: %w", err)
	}
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = r.at(0)
	}
	return names, nil
}

// TableIDs returns InnoDB's own number of the table in every tablespace that
// holds one table. DISCARD TABLESPACE gives a table another number, and an import
// keeps it: a tablespace whose table has changed its number was discarded, whatever
// has happened since.
func (s *Server) TableIDs(ctx context.Context) (map[innodb.SpaceID]uint64, error) {
	all, err := s.control.rows(ctx, "SELECT SPACE, TABLE_ID FROM information_schema.INNODB_SYS_TABLES WHERE SPACE <> 0")
	if err != nil {
		return nil, fmt.Errorf("list tablespaces: %w", err)
	}
	ids := make(map[innodb.SpaceID]uint64, len(all))
	for _, r := range all {
		space, err := strconv.ParseUint(r.at(0), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("list tablespaces: tablespace %q: %w", r.at(0), err)
		}
		if ids[innodb.SpaceID(space)], err = strconv.ParseUint(r.at(1), 10, 64); err != nil {
			return nil, fmt.Errorf("list tablespaces: table %q: %w", r.at(1), err)
		}
	}
	return ids, nil
}
