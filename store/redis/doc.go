// Package redis keeps session records and their values in Redis (7.0 or later) or Valkey, over a database of accounts
// that keeps everything else: [Over]. For package store/tiered it also is a cache in front of such a database: [NewCache].
//
// Ends are decided in the base. Its log is durable before anything is written to Redis, and every read compares how far
// the records have followed that log with the number that the base says; whoever finds them behind brings them along
// first. So a node that dies between the two, a flushed, restored or failed-over Redis, or a clock that is wrong never
// brings an ended session back: at worst people log in again. Expiry in Redis (TTL) is a broom for what was forgotten,
// and decides nothing.
//
// Package redis reads primaries only. It never keeps sessions on a server that evicts keys, never writes a token or a secret
// in clear, and never puts a password into an error. All keys of one prefix are on one slot of a Cluster, since scripts
// change records, their indexes and their place in the log together, and a failover must lose them together: a Cluster
// serves one prefix from one of its shards.
package redis
