//go:build !linux

package machineinit

// Main returns 1: machines run Linux.
func Main([]string) int { return 1 }
