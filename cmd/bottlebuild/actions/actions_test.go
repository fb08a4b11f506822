package actions

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*Job)
		want string
	}{
		{"error with a place", func(j *Job) {
			j.Annotate(Annotation{Level: Error, File: "/repo/a/bottles.hcl", Line: 3, Column: 7, Title: "image.x: no, not", Message: "50% off\nline 2"})
		}, "::error file=a/bottles.hcl,line=3,col=7,title=image.x%3A no%2C not::50%25 off%0Aline 2\n"},
		{"a file elsewhere", func(j *Job) { j.Annotate(Annotation{Level: Warning, File: "/other/b.hcl", Message: "m"}) }, "::warning file=/other/b.hcl::m\n"},
		{"relative", func(j *Job) { j.Annotate(Annotation{Level: Notice, File: "b.hcl", Line: 1, Message: "m"}) }, "::notice file=b.hcl,line=1::m\n"},
		{"nowhere", func(j *Job) { j.Annotate(Annotation{Level: Error, Line: 9, Message: "m"}) }, "::error::m\n"},
		{"group", func(j *Job) {
			end := j.Group("a\nb")
			j.Log.Write([]byte("::warning::not obeyed\n"))
			end()
		}, "::group::a%0Ab\n::stop-commands::TOKEN\n::warning::not obeyed\n::TOKEN::\n::endgroup::\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			c.do(&Job{Log: &log, Workspace: "/repo"})
			got := log.String()
			if m := regexp.MustCompile(`stop-commands::([A-Z0-9]{20,})\n`).FindStringSubmatch(got); m != nil {
				got = strings.ReplaceAll(got, m[1], "TOKEN")
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	j := &Job{Outputs: filepath.Join(dir, "out"), Summary: filepath.Join(dir, "summary")}
	if err := os.WriteFile(j.Outputs, []byte("before=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := j.SetOutputs(map[string]string{"b": "two\nlines", "a": "x=y"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(j.Outputs)
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^before=1\na<<(\w+)\nx=y\n(\w+)\nb<<(\w+)\ntwo\nlines\n(\w+)\n$`)
	if m := want.FindSubmatch(got); m == nil || !bytes.Equal(m[1], m[2]) || !bytes.Equal(m[3], m[4]) {
		t.Errorf("outputs: %q", got)
	}
	long := strings.Repeat("0123456789\n", MaxSummary/10)
	if err := j.Summarize(long); err != nil {
		t.Fatal(err)
	}
	if got, err = os.ReadFile(j.Summary); err != nil {
		t.Fatal(err)
	}
	if len(got) > MaxSummary || !bytes.HasSuffix(got, []byte("9\n\nThe rest is too long to be shown here.\n")) {
		t.Errorf("a long summary has %d bytes and ends with %q", len(got), got[len(got)-60:])
	}
	j.Summary = filepath.Join(dir, "no", "summary")
	if err := j.Summarize("x"); err == nil {
		t.Error("no error for a summary that cannot be written")
	}
}

func TestElsewhere(t *testing.T) {
	var j *Job
	j.Group("x")()
	j.Quote()()
	j.Annotate(Annotation{})
	if err := j.SetOutputs(map[string]string{"a": "b"}); err != nil {
		t.Error(err)
	}
	if err := j.Summarize("x"); err != nil {
		t.Error(err)
	}
}

func TestCell(t *testing.T) {
	if got, want := Cell("a|b\n<c> `d` *e*"), `a\|b<br>&lt;c&gt; &#96;d&#96; \*e\*`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
