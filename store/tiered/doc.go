// Package tiered puts a cache that several processes share, such as Redis or Valkey, in front of a database: [New].
//
// Only look-ups that may be answered by a copy (handstamp.Lookup.Copy) are answered from it; everything else, and every
// refusal, is the database's. A copy says up to which number of the log it has seen everything, and whoever asked judges it
// by the events after that: so a copy that is late, or was not removed in time, ends nobody's end. What is removed and
// overwritten here keeps the tier useful, and is not what makes it right.
//
// Package tiered never says that there is no such credential, never decides to end or to refresh anything by a copy, and
// never believes an entry that no process of the fleet has written. The cache may be lost, late, or away: then the
// database is asked.
package tiered
