//go:build !linux

package main

import "runtime/debug"

// tuneMemory lets a run that finds everything cached be over before the first
// collection.
func tuneMemory() { debug.SetGCPercent(200) }
