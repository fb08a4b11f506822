package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// command is a process to be measured.
type command struct {
	name string // for the table
	argv []string
	dir  string
	env  []string
}

// usage is what one process took.
type usage struct {
	wall    time.Duration // from before its start to after its end
	cpu     time.Duration // of its processors, in user and kernel mode; not of daemons it talks to
	rss     int64         // bytes in memory at its peak; what this process has at its own is a lower bound
	written int64         // bytes that it made the kernel write to disks, now or later
	output  string
}

// stopGrace is how long a process has to leave when it is told to.
const stopGrace = 10 * time.Second

// run runs the command to its end. It is an error, with the end of what it has
// printed, if it does not exit with 0.
func (c command) run(ctx context.Context) (usage, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is for this process alone
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace
	start := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(start), output: out.String()}
	if err != nil {
		return u, fmt.Errorf("%q in %s: %w\n%s", c.argv, c.dir, err, tail(out.Bytes()))
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.rss = r.Maxrss << 10      // it is in KiB
		u.written = r.Oublock * 512 // the kernel keeps write_bytes of /proc/PID/io and divides it by 512
	}
	return u, nil
}

// tail returns the last of what a command has printed, for an error.
func tail(out []byte) []byte {
	const most = 4 << 10
	out = bytes.TrimSpace(out)
	if len(out) <= most {
		return out
	}
	return append([]byte("[…] "), bytes.ToValidUTF8(out[len(out)-most:], nil)...)
}

// alternate runs each command warm times and then n times, in turns, and returns
// for each command what its n runs took.
func alternate(ctx context.Context, warm, n int, commands ...command) ([][]usage, error) {
	all := make([][]usage, len(commands))
	for i := range warm + n {
		for j, c := range commands {
			u, err := c.run(ctx)
			if err != nil {
				return nil, err
			}
			if i >= warm {
				all[j] = append(all[j], u)
			}
		}
	}
	return all, nil
}

// median returns the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// walls returns the wall times in seconds.
func walls(runs []usage) (s []float64) {
	for _, u := range runs {
		s = append(s, u.wall.Seconds())
	}
	return s
}

// cpus returns the processor times in seconds.
func cpus(runs []usage) (s []float64) {
	for _, u := range runs {
		s = append(s, u.cpu.Seconds())
	}
	return s
}

// ratio returns the median of how many times as long as its neighbour in b each
// run of a took.
func ratio(a, b []usage) float64 {
	var r []float64
	for i := range a {
		r = append(r, a[i].wall.Seconds()/b[i].wall.Seconds())
	}
	return median(r)
}

// peak returns the greatest of the peaks of memory, in bytes.
func peak(runs []usage) int64 {
	var most int64
	for _, u := range runs {
		most = max(most, u.rss)
	}
	return most
}
