package machineinit

import (
	"os"
	"strconv"
	"strings"
)

// Short of memory, the kernel ends the process with the highest score, which is
// its share of the memory in thousandths with the adjustment of proc(5) added. The
// first process, with which the whole machine would end, has FirstScore: that is
// below any other of the machine, and above the host's own. The others have Score.
const (
	FirstScore = 100
	Score      = 500
)

const scoreFile = "/proc/self/oom_score_adj"

// exposed does something while this process, and so every one that it starts, has
// Score. That can always be undone, since only a process with more privilege than
// this one sets the lowest value that there may be. If it fails, the children are
// as safe as this process.
func exposed(do func()) {
	if own, err := os.ReadFile(scoreFile); err == nil && expose() {
		defer os.WriteFile(scoreFile, own, 0)
	}
	do()
}

// expose gives this process Score, unless it has more.
func expose() bool {
	own, err := os.ReadFile(scoreFile)
	if n, nerr := strconv.Atoi(strings.TrimSpace(string(own))); err != nil || nerr != nil || n >= Score {
		return false
	}
	return os.WriteFile(scoreFile, []byte(strconv.Itoa(Score)), 0) == nil
}

// memoryKills returns how many processes of the machine the kernel has ended for
// want of memory, by memory.events of version 2 of cgroups or memory.oom_control of
// version 1; 0 if it does not tell.
func memoryKills() int {
	for _, path := range []string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"} {
		b, _ := os.ReadFile(path)
		for line := range strings.Lines(string(b)) {
			if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
				n, _ := strconv.Atoi(strings.TrimSpace(count))
				return n
			}
		}
	}
	return 0
}
