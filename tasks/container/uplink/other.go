//go:build !linux

package uplink

// Main returns 1: machines run on Linux.
func Main() int { return 1 }
