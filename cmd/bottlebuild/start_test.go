package main

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A process that has nothing to do is mostly initialization of packages, ours
// must not be: tables and expressions that few commands need are made by those.
// Bytes are a measure of it that does not depend on the machine's load.
func TestStartIsSmall(t *testing.T) {
	const most = 64 << 10 // of all packages of this module together
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	packages := regexp.MustCompile(`(?m)^init (bottlebuild/\S+) .* (\d+) bytes`).FindAllStringSubmatch(trace.String(), -1)
	if len(packages) == 0 {
		t.Fatalf("no package of this module is in the trace:\n%s", trace.String())
	}
	sum := 0
	for _, p := range packages {
		n, err := strconv.Atoi(p[2])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if sum > most {
		t.Errorf("initialization allocates %d bytes, at most %d are wanted: use package lazyregexp or sync.OnceValue", sum, most)
		for _, p := range packages {
			t.Logf("%8s  %s", p[2], p[1])
		}
	}
}
