// Package bench measures what a request costs that is checked and reads or writes one value of its session: on Handstamp
// and on alexedwards/scs, in memory and in SQLite, with the same driver, the same settings of the database, the same
// values and the same handler around it. ./run makes the table of README.md.
package bench
