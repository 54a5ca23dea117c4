// Package binlog is the format of MariaDB's binary log, as far as an archive of it has to be
// read: headers of events, the format description with the checksums, GTIDs, and where a
// transaction begins and ends; and for a search, which tables and how many rows it changes. What
// is in the rows is not decoded: an archive keeps events as they are.
//
// The layouts are those of the server's sql/log_event.h and log_event.cc, releases 10.5 to
// 11.8, and of sql/rpl_gtid.cc. All numbers are little endian. All bytes are hostile: an event
// is looked at only as far as its length allows, and nothing is allocated by a number that
// was read.
package binlog

// Magic begins a file of the binary log.
const Magic = "\xfebin"
