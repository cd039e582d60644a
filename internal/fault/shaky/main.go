//go:build !linux

// Command shaky is for Linux only.
package main

func main() { panic("shaky is for Linux only") }
