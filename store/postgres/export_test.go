package postgres

import "time"

// Patient makes the options of a store that waits longer than one for users would: a test machine may be busy with other
// things.
func Patient(o Options) Options {
	o.limits = limits{
		lock: 20 * time.Second, statement: 30 * time.Second, idle: 30 * time.Second, acquire: 30 * time.Second,
		total: 40 * time.Second, commit: 5 * time.Second, ping: 5 * time.Second, open: 120 * time.Second,
	}
	return o
}
