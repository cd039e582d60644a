//go:build !handstamp_testclock

package main

import "time"

// now is the time. A build with the tag handstamp_testclock has another one, which tests move; there is no way to ask
// for it here.
func (a *app) now() time.Time { return time.Now() }

// configEnviron is the environment that the configuration is read from.
func configEnviron(environ []string) []string { return environ }

// moveClock serves the control of the clock; there is none.
func (a *app) moveClock() (stop func(), err error) { return func() {}, nil }
