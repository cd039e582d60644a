//go:build !handstamp_nocache

package handstamp

// cacheByDefault is false in builds for tests of everything without a memory.
const cacheByDefault = true
