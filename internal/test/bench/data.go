package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"

	"mbk/internal/test/mariadbtest"
)

// dataSet is what a server holds while cases run on it.
type dataSet struct {
	name  string
	fill  func(ctx context.Context, b *bench, s *mariadbtest.Server) error
	cases []benchCase
}

// startServer starts a server and fills it. It has been restarted before the first
// case, so that no work of the filling is left.
func (b *bench) startServer(ctx context.Context, set dataSet) (*mariadbtest.Server, error) {
	s, err := mariadbtest.Start(ctx, mariadbtest.Options{
		Dist: b.dist, Dir: filepath.Join(b.dir, "source"),
		Args: []string{
			"--innodb-buffer-pool-size=256M", "--innodb-log-file-size=192M", "--innodb-undo-tablespaces=3",
			"--sync-binlog=0", "--max-connections=300", "--table-open-cache=4000", "--innodb-stats-persistent=OFF",
		},
	})
	if err != nil {
		return nil, err
	}
	if err = set.fill(ctx, b, s); err == nil {
		err = s.Restart(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// dataDB is the database of the benchmark's tables.
const dataDB = "bench"

// rowBytes is about what a row of a large table takes in its tablespace.
const rowBytes = 390

// fillTables makes n tables that take up the given number of bytes together.
func fillTables(n int) func(context.Context, *bench, *mariadbtest.Server) error {
	return func(ctx context.Context, b *bench, s *mariadbtest.Server) error {
		if err := s.Exec(ctx, "CREATE DATABASE "+dataDB); err != nil {
			return err
		}
		rows := int(b.size) / n / rowBytes
		return inParallel(2, n, func(i int) error { return fillTable(ctx, s, i, rows) })
	}
}

// fillTable makes one table. Numbers, hexadecimal digits and words in its rows
// compress as data of applications do, to something less than a half.
func fillTable(ctx context.Context, s *mariadbtest.Server, table, rows int) error {
	name := fmt.Sprintf("%s.t%d", dataDB, table)
	err := s.Exec(ctx, "CREATE TABLE "+
		name+` (id INT NOT NULL PRIMARY KEY, k INT UNSIGNED NOT NULL, amount DECIMAL(12,2) NOT NULL,
		at DATETIME NOT NULL, code CHAR(40) NOT NULL, text VARCHAR(400) NOT NULL, KEY k (k)) ENGINE=InnoDB DEFAULT CHARSET=latin1`)
	if err != nil {
		return err
	}
	const step = 100_000 // rows of a transaction
	for first := 1; first <= rows; first += step {
		last := min(first+step-1, rows)
		seed := strconv.Itoa(table + 1)
		err := s.Exec(ctx, "SET SESSION sql_log_bin=0, unique_checks=0", "USE "+dataDB,
			"INSERT INTO "+name+` SELECT seq, CRC32(seq * 3 + `+seed+`), CRC32(seq + `+seed+`) / 100,
			'2020-01-01' + INTERVAL CRC32(seq) % 100000000 SECOND, SHA1(seq * 7 + `+seed+`),
			CONCAT_WS(' ', `+words(11, seed)+`, SHA1(seq + `+seed+`), `+words(11, seed+"9")+`, SHA1(seq * 5 + `+seed+`)) FROM seq_`+strconv.Itoa(first)+"_to_"+strconv.Itoa(last))
		if err != nil {
			return err
		}
	}
	return nil
}

// words is an SQL list of n words, each chosen by the row's number.
func words(n int, seed string) string {
	list := ""
	for i := range n {
		if i > 0 {
			list += ", "
		}
		list += fmt.Sprintf(`ELT(1 + CRC32(seq * %d + %s) %% 24, 'invoice', 'customer', 'delivered', 'open', 'the', 'of', 'Berlin', 'Helsinki', 'paid', 'reminder', 'order',
			'warehouse', 'with', 'returned', 'from', 'pending', 'address', 'shipment', 'article', 'account', 'closed', 'and', 'special offer', 'tax')`, 2*i+1, seed)
	}
	return list
}

// fillSmall makes many tables of a few rows.
func fillSmall(ctx context.Context, b *bench, s *mariadbtest.Server) error {
	const perDatabase, sessions = 1000, 4
	for db := 0; db*perDatabase < b.tables; db++ {
		if err := s.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s%d", dataDB, db)); err != nil {
			return err
		}
	}
	return inParallel(sessions, (b.tables+99)/100, func(i int) error {
		statements := []string{"SET SESSION sql_log_bin=0"}
		for t := 100 * i; t < min(100*i+100, b.tables); t++ {
			name := fmt.Sprintf("%s%d.small%d", dataDB, t/perDatabase, t)
			statements = append(statements,
				"CREATE TABLE "+name+" (id INT NOT NULL PRIMARY KEY, name VARCHAR(100), at DATETIME, KEY (name)) ENGINE=InnoDB",
				"INSERT INTO "+name+" SELECT seq, SHA1(seq), NOW() FROM "+dataDB+"0.seq_1_to_20")
		}
		return s.Exec(ctx, statements...)
	})
}

// fillMixed makes large idle tables of three engines beside small ones of all.
func fillMixed(ctx context.Context, b *bench, s *mariadbtest.Server) error {
	third := int(b.size>>20) / 3
	return mariadbtest.Populate(ctx, s, mariadbtest.Fill{InnoDBMiB: third, AriaMiB: third, MyISAMMiB: third})
}

// inParallel calls do with 0 to n-1, several at a time.
func inParallel(several, n int, do func(i int) error) error {
	var (
		group sync.WaitGroup
		next  = make(chan int)
		errs  = make([]error, several)
	)
	for w := range several {
		group.Go(func() {
			for i := range next {
				if errs[w] == nil {
					errs[w] = do(i)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
	return errors.Join(errs...)
}
