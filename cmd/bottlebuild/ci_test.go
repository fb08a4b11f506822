package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"go.yaml.in/yaml/v3"
	"mvdan.cc/sh/v3/syntax"
)

// TestGitHubExamples checks the workflows of examples/ci as actionlint does, and
// that what they run is there.
func TestGitHubExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/ci/github/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		content := readExample(t, file)
		linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		faults, err := linter.Lint(file, content, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range faults {
			t.Error(f)
		}
		var w struct {
			Env  map[string]string
			Jobs map[string]struct {
				Steps []struct {
					Run string
					Env map[string]string
				}
			}
		}
		if err := yaml.Unmarshal(content, &w); err != nil {
			t.Fatal(err)
		}
		checkVariables(t, file, w.Env)
		var scripts []string
		for _, j := range w.Jobs {
			for _, s := range j.Steps {
				checkVariables(t, file, s.Env)
				scripts = append(scripts, expression.ReplaceAllString(s.Run, "1"))
			}
		}
		checkScripts(t, file, scripts)
	}
}

// expression is one of GitHub Actions.
var expression = regexp.MustCompile(`\$\{\{[^}]*\}\}`)

// gitlabJob has the keywords of jobs that examples use, in the form that GitLab's
// reference gives them.
type gitlabJob struct {
	Stage         string
	Image         string
	Interruptible bool
	Parallel      int
	Timeout       string
	Rules         []struct {
		If   string
		When string
	}
	Variables map[string]string
	Script    []string
	Artifacts *struct {
		When     string
		Paths    []string
		ExpireIn string `yaml:"expire_in"`
	}
	Before []string `yaml:"before_script"`
}

// TestGitLabExample checks the pipeline of examples/ci: keywords and their types,
// stages, and what it runs.
func TestGitLabExample(t *testing.T) {
	const file = "../../examples/ci/gitlab/.gitlab-ci.yml"
	var all map[string]yaml.Node
	if err := yaml.Unmarshal(readExample(t, file), &all); err != nil {
		t.Fatal(err)
	}
	decode := func(name string, to any) {
		n, ok := all[name]
		if !ok {
			t.Fatalf("%s has no %s", file, name)
		}
		b, err := yaml.Marshal(&n)
		if err == nil {
			d := yaml.NewDecoder(bytes.NewReader(b))
			d.KnownFields(true)
			err = d.Decode(to)
		}
		if err != nil {
			t.Errorf("%s: %s: %v", file, name, err)
		}
		delete(all, name)
	}
	var stages []string
	var variables map[string]string
	var defaults gitlabJob
	decode("stages", &stages)
	decode("variables", &variables)
	decode("default", &defaults)
	checkVariables(t, file, variables)
	checkScripts(t, file, defaults.Before)
	if len(all) == 0 {
		t.Fatal("there are no jobs")
	}
	for name := range all {
		var j gitlabJob
		decode(name, &j)
		if !slices.Contains(stages, j.Stage) || len(j.Script) == 0 {
			t.Errorf("%s: job %s: stage %q of %q, %d lines of script", file, name, j.Stage, stages, len(j.Script))
		}
		checkVariables(t, file, j.Variables)
		checkScripts(t, file, j.Script)
	}
}

func readExample(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// checkVariables checks that variables of bottlebuild's are ones that it reads, by
// what docs/cache.md says.
func checkVariables(t *testing.T, file string, variables map[string]string) {
	t.Helper()
	for name := range variables {
		if strings.HasPrefix(name, "BOTTLEBUILD_") && !slices.Contains(cacheVariables, name) {
			t.Errorf("%s: bottlebuild reads no %s", file, name)
		}
	}
}

var cacheVariables = []string{
	envCacheRemotes, envCacheScope, envCacheTrust, envCacheSignKey, envCacheSigned, envCacheCA, envCacheCert, envCacheKey,
	envCacheInsecure, envCacheProject, envCacheBuilder,
}

// checkScripts checks that scripts are ones of a shell, and that each command of
// bottlebuild's in them is one that it has, with flags that it has.
func checkScripts(t *testing.T, file string, scripts []string) {
	t.Helper()
	for _, script := range scripts {
		parsed, err := syntax.NewParser().Parse(strings.NewReader(script), file)
		if err != nil {
			t.Errorf("%s: %v in\n%s", file, err, script)
			continue
		}
		syntax.Walk(parsed, func(n syntax.Node) bool {
			if call, ok := n.(*syntax.CallExpr); ok {
				checkCommand(t, file, words(call))
			}
			return true
		})
	}
}

// words are the words of a command; an expansion stands for 1.
func words(call *syntax.CallExpr) (all []string) {
	for _, w := range call.Args {
		var b strings.Builder
		syntax.Walk(w, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.Lit:
				b.WriteString(n.Value)
			case *syntax.SglQuoted:
				b.WriteString(n.Value)
			case *syntax.ParamExp, *syntax.CmdSubst:
				b.WriteString("1")
				return false
			}
			return true
		})
		all = append(all, b.String())
	}
	return all
}

func checkCommand(t *testing.T, file string, words []string) {
	t.Helper()
	i := slices.IndexFunc(words, func(w string) bool { return w != "sudo" && w != "-E" })
	if i < 0 || words[i] != "bottlebuild" {
		return
	}
	root := newRootCommand(newApp(nil, nil, nil, os.LookupEnv))
	cmd, rest, err := root.Find(words[i+1:])
	if err == nil && cmd == root {
		t.Errorf("%s: %q names no command", file, words)
	}
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err != nil {
		t.Errorf("%s: %q: %v", file, words, err)
	}
}
