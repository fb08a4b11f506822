package smolvm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/tasks/backend"
)

func TestJudge(t *testing.T) {
	r := newRig(t, settings{})
	pack := r.smallPack(t)
	r.mustCreate(t, backend.Spec{Name: "up"}, pack)
	r.mustCreate(t, backend.Spec{Name: "down"}, pack)
	if err := r.Start(t.Context(), "up"); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		machine string
		code    int
		stderr  string
		tty     bool
		want    int // below 0: smolvm's own failure
	}{
		"success":               {"up", 0, "Error: not one", false, 0},
		"another code":          {"up", 3, "Error: agent operation failed: x", false, 3},
		"timeout":               {"up", 124, "", false, 124},
		"silent":                {"up", 1, "", false, 1},
		"words":                 {"up", 1, "grep: no match", false, 1},
		"the guest's error":     {"up", 1, "Error: no such module\n", false, 1},
		"the guest's, streamed": {"up", 1, "error: no such module\n", false, 1},
		"error, then a trace":   {"up", 1, "Error: no such module\n    at main.js:1\n", false, 1},
		"smolvm's":              {"up", 1, "Error: agent operation failed: connect: refused\n", false, -1},
		"smolvm's, after words": {"up", 1, "some output\nError: vm not found: up\n", false, -1},
		"machine went away":     {"down", 1, "Error: something new\n", false, -1},
		"went away, streamed":   {"down", 1, "error: connection reset\n", false, -1},
		"on a terminal":         {"up", 1, "Error: something new\n", true, -1},
		"usage":                 {"up", 2, "error: unexpected argument '--x' found\n\nUsage: smolvm machine exec\n", false, -1},
		"the guest's usage":     {"up", 2, "error: bad option\n", false, 2},
		"no such command":       {"up", 1, "Error: agent operation failed: exec: executable file `x` not found in $PATH\n", false, 127},
		"not executable":        {"up", 1, "Error: agent operation failed: exec: executable file: Permission denied\n", false, 126},
	} {
		code, err := r.judge(t.Context(), tc.machine, tc.code, tc.stderr, tc.tty)
		if err != nil {
			code = -1
		}
		if code != tc.want {
			t.Errorf("%s: %d, %v; want %d", name, code, err, tc.want)
		}
	}
}

func TestResolveUsers(t *testing.T) {
	g, err := parseUsers([]byte("Name:\tcat\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n" +
		"root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001:Node, a user:/home/node:/bin/sh\nbroken:x:y:z:::\n1234:x:77:78::/odd:/bin/sh\n" +
		"root:x:0:\nnode:x:1001:\nstaff:x:50:node,root\naudio:x:29:node\n"))
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]account{
		"root":       {name: "root", home: "/root", groups: []int{50}, ownGroup: true},
		"node":       {name: "node", uid: 1000, gid: 1001, home: "/home/node", groups: []int{29, 50}, ownGroup: true},
		"1000":       {name: "node", uid: 1000, gid: 1001, home: "/home/node", groups: []int{29, 50}, ownGroup: true},
		"node:staff": {name: "node", uid: 1000, gid: 50, home: "/home/node"},
		"node:1001":  {name: "node", uid: 1000, gid: 1001, home: "/home/node", ownGroup: true},
		"5:6":        {uid: 5, gid: 6},
		"5":          {uid: 5},
		"1234":       {name: "1234", uid: 77, gid: 78, home: "/odd", ownGroup: true},
	} {
		got, err := g.resolve(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(account{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s, diff)
		}
	}
	for _, s := range []string{"nobody", "node:nogroup", "broken", ""} {
		if a, err := g.resolve(s); err == nil {
			t.Errorf("%q: %+v", s, a)
		}
	}
	if _, err := parseUsers([]byte("root:x:0:0:root:/root:/bin/sh\n")); err == nil {
		t.Error("without /proc/self/status: no error")
	}
}

func TestSwitches(t *testing.T) {
	got := switches(account{name: "node", uid: 1000, gid: 1001, groups: []int{29, 50}, home: "/home/node", ownGroup: true})
	var lines []string
	for _, i := range got {
		lines = append(lines, strings.Join(append(i.prefix, i.wrap([]string{"echo", "it's", "$A"})...), "|"))
	}
	want := []string{
		"setpriv|--reuid=1000|--regid=1001|--groups=29,50|--|echo|it's|$A",
		`su|-s|/bin/sh|-c|exec 'echo' 'it'\''s' '$A'|node`,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(switches(account{uid: 1})); n != 1 {
		t.Errorf("%d ways for a number, want only setpriv", n)
	}
}

func TestMessage(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "",
		"progress\r50%\nError: it broke\n": "it broke",
		"\x1b[31mError: \x1b[1mit broke\x1b[0m\nhint: try": "it broke\nhint: try",
		"Error: first\nError: second":                      "second",
		"no error line\x07\x00":                            "no error line",
		"an Error: inside":                                 "an Error: inside",
		"title \x1b]0;evil\x07 end \x1bM":                  "title  end",
	} {
		if got := message(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestLines(t *testing.T) {
	var out strings.Builder
	l := &lines{to: &out}
	for _, s := range []string{"one\n", "tw", "o\rtwo\r", "\x1b[2K\r", "thr\x1b[1mee\n", strings.Repeat("x", maxLine+10), "\nlast"} {
		if n, err := l.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	l.Close()
	want := "one\ntwo\nthree\n" + strings.Repeat("x", maxLine) + "\n" + strings.Repeat("x", 10) + "\nlast\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatusOfOtherTypes(t *testing.T) {
	for in, want := range map[string]bool{`1700000000`: true, `"1700000000"`: true, `"2023-11-14T22:13:20Z"`: true, `null`: false, `{}`: false, ``: false, `"soon"`: false} {
		if got := timeOf([]byte(in)); got.IsZero() == want || want && got.Unix() != 1700000000 {
			t.Errorf("%s: %v", in, got)
		}
	}
}
