// Package stage is mbk's side of the conversation with a running MariaDB: it
// connects, reads facts about the server, names what lacks a privilege, lists
// tables, drives BACKUP STAGE, takes BACKUP LOCK, polls log positions and reads
// replication positions. It is the only package that imports the driver. It
// never looks at the server's files and never decides what a backup contains.
//
// Start with Connect. Each kind of work has a connection of its own, none of
// them from a pool:
//
//   - the control connection (made by Connect) answers questions and kills waits,
//   - Stages, made by Server.Begin, holds the backup stages and does nothing else;
//     a second connection beside it withdraws its waits and finds who causes them,
//   - Locker, made by Server.Locker, holds one table lock at a time,
//   - Watch, made by Server.Watch, polls LSNs.
//
// The server gives up every stage and lock of a connection that ends, so a
// statement of Stages or Locker is never repeated on another connection: once
// lost, they answer every call with ErrStageLost or ErrLockLost.
package stage
