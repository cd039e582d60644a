// Package sqlite keeps everything Handstamp has in one SQLite file: sessions, the numbered log, accounts, signing keys,
// counters and the audit log. Its tables begin with handstamp_ and stand beside an application's own in the same file.
// Several processes on one machine may use the file at the same time, for example a server and the command line.
//
// An acknowledged write survives the crash of the process and of the machine: every connection that writes is in WAL
// mode with synchronous=FULL, which is read back from the engine before the connection is used. Reads see the newest
// commit and never write. The driver is pure Go; no C compiler is needed.
//
// Package sqlite never decides by a clock of its own, never changes a file that it cannot use (another program's, a
// damaged or a newer one), never writes a secret or a query's values into an error or a log, and never reports a write
// whose outcome it does not know as done or as refused. It must not be used on a network file system: its locks and its
// shared memory do not reach other machines.
//
// Other code of the same process must not open the database file with os.Open and close it again while a Store is open:
// on POSIX systems that drops the engine's locks on it. Copy it with the engine's own means (VACUUM INTO).
package sqlite
