// Package innodb knows the file formats of InnoDB: tablespace headers and pages
// with their checksums, and the redo log. It reads bytes and says what they are;
// it does not recover, change or create tables, it needs no encryption keys, and
// it knows nothing of backups.
//
// A Space, made by ParseSpace of a file's first page, checks every other page of
// that tablespace. The redo part parses the log's header, checkpoints and
// mini-transactions, and follows the log of a running server.
//
// All integers in these files are big-endian. Everything here takes bytes from a
// disk as hostile: sizes are bounded before use, and damage is an error, never a
// panic.
package innodb
