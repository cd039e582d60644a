// Package fault gives tests real servers to break: PostgreSQL, PgBouncer and Redis as processes of their own on private
// loopback ports and directories, a TCP proxy that delays, holds back and cuts, nodes as processes that can be stopped
// and killed, and a recorder of what clients saw with checkers that say whether it was allowed.
//
// It never uses a server that it did not start, never waits a fixed time in the hope that something has happened, and is
// imported by tests only. It knows nothing of the rest of the module: what it checks are answers, not code.
//
// Everything ends with the test that started it. What is shared by a test process ends with the process, even when that
// is killed.
package fault
