package bottlefile

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"golang.org/x/tools/txtar"
)

// A fixture says which diagnostics it expects in comments: "# error: text" or
// "# warning: text" on the line that the diagnostic points at, several separated
// by " & ", and "# nowhere: text" for one without a place. "# var NAME=VALUE"
// gives a variable, "# set PATH=VALUE" sets an attribute. A fixture of several
// files is a txtar archive, in which x.vars.hcl and x.vars.json are files of
// variables; in JSON the comment is the value of a property "//".
var (
	expectRE = regexp.MustCompile(`# (error|warning|nowhere): (.*)$`)
	varRE    = regexp.MustCompile(`^# var ([a-z_]+)=(.*)$`)
	setRE    = regexp.MustCompile(`^# set (.*)$`)
)

type expectation struct {
	file     string
	line     int
	severity hcl.DiagnosticSeverity
	text     string
}

// fixture is what a fixture's files and comments come to.
type fixture struct {
	Options
	want []expectation
}

func readFixture(t *testing.T, path string) *fixture {
	t.Helper()
	source, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	x := &fixture{Options: Options{Project: "test", Version: "0.3.0", Vars: map[string]Var{}}}
	if !strings.HasSuffix(path, ".txtar") {
		x.Files = []Source{{Path: "bottles.hcl", Bytes: source}}
		x.comments("", string(source))
		return x
	}
	archive := txtar.Parse(source)
	x.comments("", string(archive.Comment))
	for _, f := range archive.Files {
		s := Source{Path: f.Name, Bytes: f.Data, Override: IsOverride(f.Name)}
		switch {
		case strings.HasPrefix(f.Name, "<"): // a place for expectations only
		case strings.Contains(f.Name, ".vars."):
			x.VarFiles = append(x.VarFiles, s)
		default:
			x.Files = append(x.Files, s)
		}
		x.comments(f.Name, string(f.Data))
	}
	return x
}

func (x *fixture) comments(file, source string) {
	for i, line := range strings.Split(source, "\n") {
		if m := varRE.FindStringSubmatch(line); m != nil {
			x.Vars[m[1]] = Var{Value: m[2], Origin: "--var"}
		}
		if m := setRE.FindStringSubmatch(line); m != nil {
			x.Sets = append(x.Sets, m[1])
		}
		m := expectRE.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		e := expectation{file: file, line: i + 1, severity: hcl.DiagError}
		switch m[1] {
		case "warning":
			e.severity = hcl.DiagWarning
		case "nowhere":
			e.file, e.line = "", 0
		}
		for text := range strings.SplitSeq(m[2], " & ") {
			e.text = text
			if strings.Contains(file, "json") {
				e.text, _, _ = strings.Cut(text, "\"")
			}
			x.want = append(x.want, e)
		}
	}
}

func TestInvalid(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.*")
	if err != nil || len(files) < 80 {
		t.Fatalf("%d fixtures: %v", len(files), err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), func(t *testing.T) {
			x := readFixture(t, path)
			if len(x.want) == 0 {
				t.Fatal("the fixture expects nothing")
			}
			x.Dir = project(t)
			f, diags := Load(context.Background(), x.Options)
			unexpected := diags
			for _, e := range x.want {
				found := false
				for i, d := range unexpected {
					if subject(d).Start.Line == e.line && (e.file == "" || subject(d).Filename == e.file) && d.Severity == e.severity && strings.Contains(d.Summary+": "+d.Detail, e.text) {
						unexpected = append(append(hcl.Diagnostics{}, unexpected[:i]...), unexpected[i+1:]...)
						found = true
						break
					}
				}
				if !found {
					t.Errorf("%s:%d: no diagnostic with %q", e.file, e.line, e.text)
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
			if nodes, diags := f.Nodes(nil); strings.Contains(fmt.Sprint(x.want), "error") && (len(nodes) > 0 || !diags.HasErrors()) {
				t.Error("a file with errors has nodes")
			}
			if out := render80(t, f, diags); strings.Contains(out, "hunter2") {
				t.Errorf("a sensitive value is shown:\n%s", out)
			}
		})
	}
}
