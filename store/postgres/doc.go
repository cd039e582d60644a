// Package postgres keeps everything Handstamp has in PostgreSQL 13 or newer: sessions, the numbered log, accounts, signing
// keys, counters and the audit log. Its tables stand in a schema of their own beside an application's in the same
// database. Any number of processes on any number of machines may use them at the same time.
//
// An acknowledged write is as durable as the server's own settings make it; [Store.Settle] says what they promise. A
// check, a refresh or a renewal is one statement and one round trip; a unit of work holds one connection, and nothing
// takes a second one while it holds one. Every wait ends: for a connection, for a lock and for a server that does not
// answer. With [Transaction] it works behind PgBouncer in the mode transaction, too.
//
// Package postgres never decides by a clock of its own, never reads from a standby, never changes a schema that it cannot
// use (somebody else's, or a newer one), never writes a secret or a statement's values into an error or a log, and never
// reports a write whose outcome it does not know as done or as refused.
package postgres
