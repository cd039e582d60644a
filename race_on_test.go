//go:build race

package handstamp_test

// raceEnabled says that the race detector watches, which makes everything ten times slower.
const raceEnabled = true
