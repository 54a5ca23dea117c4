// Package preflight makes every check that a backup makes before it locks anything: of the
// server and its account, the data directory and what is in it, the filter, the repository,
// free space and limits. What it finds is a list of findings with advice; one of grade error
// forbids the backup. It changes nothing, on the server or elsewhere.
package preflight
