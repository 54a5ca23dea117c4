// Package mariadbd runs the real server privately on a data directory: no network, no
// option files, no replication, with the rights of the owner of the files.
//
// Probe tells which programs on this machine fit; an Instance recovers files, serves
// connections to them, or has mariadb-upgrade bring them to a newer release series. What
// the server's error log says of a failure is weighed (Cause): damage speaks against the
// files, a shortage or a missing key does not.
//
// The package knows nothing of backups: not where the files came from, nor what becomes
// of them.
package mariadbd
