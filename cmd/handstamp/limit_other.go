//go:build !unix

package main

// maxConnections is how many connections the public listener takes.
func maxConnections() int { return mostConnections }
