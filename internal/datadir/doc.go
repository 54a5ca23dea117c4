// Package datadir knows what a data directory of MariaDB holds: where the server keeps its
// files, which of them belong to which table, what definitions and index files say of a
// table, where links lead, and what a filter selects. A scan is what is there at one moment;
// the identity of a file tells one generation of it from the next.
//
// The package reads files and asks no server: what only a server knows is passed in. It
// changes nothing, and copies nothing.
package datadir
