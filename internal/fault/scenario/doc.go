// Package scenario holds the tests that run real nodes on real servers and break them: black-box stories over HTTP, with
// every answer recorded and judged afterwards. It knows nothing of the code but the binary and its documented interface.
//
// The short form runs with the other tests. HANDSTAMP_TORTURE=1 makes every story as long as it is published;
// HANDSTAMP_TORTURE_TIME says how long the random schedules run, HANDSTAMP_TORTURE_REFRESHES how many refreshes by honest
// clients there are (a million). HANDSTAMP_TORTURE_SEED plays one schedule again; those that found something are kept in
// testdata/seeds.txt. HANDSTAMP_FAULT is the name of the one fault that TestFaults is to play. HANDSTAMP_BINARY tests that
// binary, built with the tag handstamp_testclock, instead of the one of this tree.
//
// Every story that ends with fleet.finish holds the answers against the rules of package fault, and against what the
// nodes wrote down themselves: the audit log and the sessions that are live. Two people with passwords take part in each
// load.
package scenario
