//go:build unix

package main

import "syscall"

// maxConnections is how many connections the public listener takes.
func maxConnections() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return mostConnections
	}
	return connectionsFor(uint64(files.Cur))
}
