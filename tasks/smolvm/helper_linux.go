package smolvm

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// killMarked ends the processes that carry [packVariable] with a directory that
// match accepts. Of processes of other users nothing is seen.
func killMarked(match func(dir string) bool) {
	lists, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, list := range lists {
		env, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			dir, ok := bytes.CutPrefix(v, []byte(packVariable+"="))
			if !ok || !match(string(dir)) {
				continue
			}
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(list))); err == nil && pid != os.Getpid() {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}
