// Package scenario holds the tests that run real nodes on real servers and break them: black-box stories over HTTP, with
// every answer recorded and judged afterwards. It knows nothing of the code but the binary and its documented interface.
//
// The short form runs with the other tests. HANDSTAMP_TORTURE=1 makes every story as long as it is published, and
// HANDSTAMP_TORTURE_TIME says how long the random schedule runs; HANDSTAMP_TORTURE_SEED repeats one. HANDSTAMP_BINARY
// tests that binary, built with the tag handstamp_testclock, instead of the one of this tree.
package scenario
