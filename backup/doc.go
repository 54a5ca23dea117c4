// Package backup takes one backup of a running server from start to finish:
// which file is opened and copied at which BACKUP STAGE, the redo beside it, the
// reconciliation of what was copied with what the server has, and the manifest at
// the end. Package preflight makes the checks before anything is locked, and
// package datadir knows what the data directory holds.
//
// Run makes the checks and one attempt or more; runAttempt reads as the steps of one.
// The package moves no bytes itself (copier), knows no page or log format (innodb, aria), sends no SQL
// (stage) and decides nothing about where backups live (repo).
package backup
