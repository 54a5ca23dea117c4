// Package tablerestore brings tables of a backup back into a running server.
//
// The tables, and what recovery needs, are extracted and recovered in a scratch folder, as
// package restore does it. A private server on that folder exports them. In the running
// server each table is made under a temporary name, filled, checked, and only then renamed
// to the name that it shall have; a table that it replaces is kept under another name. So
// until the rename nothing that the server's users can see has changed.
//
// A table is filled in one of two ways. Of InnoDB the exported files are copied into the
// server's data directory and imported (ALTER TABLE ... IMPORT TABLESPACE). Rows of other
// engines, and of tables whose files the server does not take, are read from the private
// server and loaded (LOAD DATA LOCAL INFILE).
//
// Temporary tables are called mbk_restore_TOKEN_N, where the token is one of this run. It
// holds the server's lock mbk_restore_TOKEN (GET_LOCK) for as long as it lives, so a later
// run can tell what a dead one has left, and removes it.
package tablerestore
