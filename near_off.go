//go:build handstamp_nocache

package handstamp

const cacheByDefault = false
