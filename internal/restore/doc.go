// Package restore brings backups back.
//
// Restore extracts a backup into a scratch folder beside the target, lays down
// a redo log in the server's format, runs the real mariadbd on it until
// recovery is done, checks the outcome and only then renames the result into
// place. A backup that is extracted and recovered, and not in its place yet, is a
// Prepared; package verify serves and checks one. Extract takes the files of single
// tables out of a backup, as they were copied.
//
// The package holds no recovery algorithm: that is the server's work. It trusts
// nothing that it reads from a repository: every path, size and name is checked
// before it is used, and nothing is written outside the scratch folder.
package restore
