package bottlefile

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
)

// A fixture says which diagnostics it expects in comments: "# error: text" or
// "# warning: text" on the line that the diagnostic points at, several separated
// by " & ", and "# nowhere: text" for one without a place. "# var NAME=VALUE"
// gives a variable.
var (
	expectRE = regexp.MustCompile(`# (error|warning|nowhere): (.*)$`)
	varRE    = regexp.MustCompile(`^# var ([a-z_]+)=(.*)$`)
)

type expectation struct {
	line     int
	severity hcl.DiagnosticSeverity
	text     string
}

func readExpectations(source string) (want []expectation, vars map[string]Var) {
	vars = map[string]Var{}
	for i, line := range strings.Split(source, "\n") {
		if m := varRE.FindStringSubmatch(line); m != nil {
			vars[m[1]] = Var{Value: m[2], Origin: "--var"}
		}
		m := expectRE.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		e := expectation{line: i + 1, severity: hcl.DiagError}
		switch m[1] {
		case "warning":
			e.severity = hcl.DiagWarning
		case "nowhere":
			e.line = 0
		}
		for text := range strings.SplitSeq(m[2], " & ") {
			e.text = text
			want = append(want, e)
		}
	}
	return want, vars
}

func TestInvalid(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.hcl")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d fixtures: %v", len(files), err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".hcl"), func(t *testing.T) {
			source, err := ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, vars := readExpectations(string(source))
			if len(want) == 0 {
				t.Fatal("the fixture expects nothing")
			}
			f, diags := load(t, project(t), string(source), vars)
			unexpected := diags
			for _, e := range want {
				found := false
				for i, d := range unexpected {
					if subject(d).Start.Line == e.line && d.Severity == e.severity && strings.Contains(d.Summary+": "+d.Detail, e.text) {
						unexpected = append(append(hcl.Diagnostics{}, unexpected[:i]...), unexpected[i+1:]...)
						found = true
						break
					}
				}
				if !found {
					t.Errorf("line %d: no diagnostic with %q", e.line, e.text)
				}
			}
			if len(unexpected) > 0 || t.Failed() {
				t.Errorf("diagnostics not expected:\n%s", render80(t, f, unexpected))
			}
			for _, d := range diags {
				if d.Detail == "" || d.Summary == "" {
					t.Errorf("%s has no detail", d.Error())
				}
			}
			if nodes, diags := f.Nodes(nil); strings.Contains(fmt.Sprint(want), "error") && (len(nodes) > 0 || !diags.HasErrors()) {
				t.Error("a file with errors has nodes")
			}
			if out := render80(t, f, diags); strings.Contains(out, "hunter2") {
				t.Errorf("a sensitive value is shown:\n%s", out)
			}
		})
	}
}
