// Package stage is the server: mbk's side of the conversation with a running MariaDB.
// It is the only package that imports the driver. It never looks at the server's
// files and never decides what a backup contains. Start with Connect.
//
// Questions change nothing, and are asked on the control connection that Connect
// makes: what the server is (facts.go), what the account may do (grants.go), which
// tables and tablespaces there are (tables.go, spaces.go), where its binary log,
// replication and cluster are (positions.go), who would be in the way of a backup
// (blockers.go), which statement about accounts was half done when a backup fixed its
// moment (halfdone.go).
//
// Whatever acts on the server, or is asked again and again, has a connection of its
// own, none of them from a pool:
//
//   - Stages, made by Server.Begin, holds the backup stages and does nothing else; a
//     second connection beside it withdraws its waits and finds who causes them
//     (stages.go, advance.go),
//   - Locker, made by Server.Locker, holds one table lock at a time (locker.go),
//   - Watch, made by Server.Watch, polls LSNs and load (watch.go, watchload.go),
//   - Server.PutHistory writes a row into the history table (history.go), and
//     Server.FlushEngineLogs and Server.Checkpoint have logs and pages written
//     (flush.go),
//   - Client runs the statements that export and import tables (client.go),
//   - Dump gets the binary log as a replica does (dump.go),
//   - Checker and Dropper check and drop tables of a server that mbk has started
//     itself (checker.go, dropper.go).
//
// The server gives up every stage and lock of a connection that ends, so a
// statement of Stages or Locker is never repeated on another connection: once
// lost, they answer every call with ErrStageLost or ErrLockLost.
package stage
