package buildkit

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
)

const (
	nodeDigest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	goDigest   = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	// nodeConfig has an environment, a trigger and a layer: an image without
	// layers is as good as scratch.
	nodeConfig = `{"architecture":"amd64","os":"linux","config":{"Env":["SRC=from-env","PATH=/bin"],"ONBUILD":null,"OnBuild":["COPY triggered.txt /t/"]},
		"rootfs":{"type":"layers","diff_ids":["` + nodeDigest + `"]}}`
	goConfig = `{"architecture":"amd64","os":"linux","config":{"Env":["SRC=from-env"]},"rootfs":{"type":"layers","diff_ids":["` + goDigest + `"]}}`
)

// resolveFake knows two images, and that is all there is in this world.
func resolveFake(_ context.Context, ref, _ string) (string, []byte, error) {
	switch ref {
	case "docker.io/library/node:22":
		return nodeDigest, []byte(nodeConfig), nil
	case "docker.io/library/golang:latest", "docker.io/library/golang@" + goDigest:
		return goDigest, []byte(goConfig), nil
	}
	return "", nil, errors.New("no such image")
}

func analyze(t testing.TB, d Definition) (*Analysis, error) {
	t.Helper()
	d.File = "Dockerfile"
	return Analyze(t.Context(), AnalyzeRequest{Definition: d, BuildPlatform: "linux/amd64", Resolve: resolveFake})
}

func TestAnalyze(t *testing.T) {
	golang := []BaseImage{{"docker.io/library/golang:latest", goDigest}}
	all := map[string]Dir{MainContext: {}}
	main := func(paths ...string) map[string]Dir { return map[string]Dir{MainContext: {Paths: paths}} }
	for _, tc := range []struct {
		name string
		def  Definition
		text string
		want Analysis
	}{
		{name: "nothing", text: "FROM scratch\nLABEL a=b", want: Analysis{Dirs: map[string]Dir{}}},
		{name: "copy paths", text: "FROM scratch\nCOPY b a/*.txt /\nADD c/d /", want: Analysis{Dirs: main("a/*.txt", "b", "c/d")}},
		{name: "whole context", text: "FROM scratch\nCOPY a /\nCOPY . /", want: Analysis{Dirs: all}},
		{name: "root", text: "FROM scratch\nCOPY / /", want: Analysis{Dirs: all}},
		{name: "argument in path", text: "FROM scratch\nARG D=x\nCOPY $D/a /", def: Definition{Args: map[string]string{"D": "y"}}, want: Analysis{Dirs: main("y/a")}},
		{name: "base environment in path", text: "FROM golang\nCOPY $SRC /", want: Analysis{Dirs: main("from-env"), Images: golang}},
		{name: "trigger", text: "FROM node:22\nCOPY a /", want: Analysis{
			Dirs: main("a", "triggered.txt"), Images: []BaseImage{{"docker.io/library/node:22", nodeDigest}},
		}},
		{name: "digest in FROM", text: "FROM golang@" + goDigest + "\nRUN x", want: Analysis{
			Dirs: map[string]Dir{}, Images: []BaseImage{{"docker.io/library/golang@" + goDigest, goDigest}}, Runs: true,
		}},
		{name: "unreachable stage", text: "FROM nowhere AS a\nCOPY a /\nFROM scratch AS b\nCOPY b /\nFROM b", want: Analysis{Dirs: main("b")}},
		{name: "target", text: "FROM scratch AS a\nCOPY a /\nFROM scratch\nCOPY b /", def: Definition{Target: "a"}, want: Analysis{Dirs: main("a")}},
		{name: "stage by argument", text: "ARG V=a\nFROM scratch AS s-a\nCOPY a /\nFROM scratch AS s-b\nCOPY b /\nFROM s-$V",
			def: Definition{Args: map[string]string{"V": "b"}}, want: Analysis{Dirs: main("b")}},
		{name: "bind mount", text: "FROM golang\nRUN --mount=type=bind,source=src,target=/s ls", want: Analysis{Dirs: main("src"), Images: golang, Runs: true}},
		{name: "bind mount of all", text: "FROM golang\nRUN --mount=target=/s ls", want: Analysis{Dirs: all, Images: golang, Runs: true}},
		{name: "copy from image", text: "FROM scratch\nCOPY --from=golang /usr/local/go /go", want: Analysis{Dirs: map[string]Dir{}, Images: golang}},
		{name: "heredoc", text: "FROM scratch\nCOPY <<EOF /x\nnot/a/path\nEOF", want: Analysis{Dirs: map[string]Dir{}}},
		{name: "secrets and ssh", text: "FROM golang\nRUN --mount=type=secret,id=tok --mount=type=ssh,id=key --mount=type=secret,id=e,env=E x", want: Analysis{
			Dirs: map[string]Dir{}, Images: golang, Secrets: []string{"e", "tok"}, SSH: []string{"key"}, Runs: true,
		}},
		{name: "default ssh agent", text: "FROM golang\nRUN --mount=type=ssh x", want: Analysis{
			Dirs: map[string]Dir{}, Images: golang, SSH: []string{"default"}, Runs: true,
		}},
		{name: "remote sources", text: "FROM scratch\nADD https://example.com/a /a\nADD --checksum=" + goDigest + " https://example.com/b /b\nADD https://github.com/o/r.git#v1 /r", want: Analysis{
			Dirs: map[string]Dir{},
			Git:  []Remote{{URL: "https://github.com/o/r.git#v1", Source: "git://github.com/o/r.git#v1"}},
			HTTP: []Remote{
				{URL: "https://example.com/a", Source: "https://example.com/a", HTTP: true},
				{URL: "https://example.com/b", Source: "https://example.com/b", HTTP: true, Checksum: goDigest, Given: true},
			},
		}},
		{name: "syntax line has no effect", text: "# syntax=docker/dockerfile:1.4\nFROM scratch\nCOPY a /", want: Analysis{Dirs: main("a")}},
		{name: "named directories", text: "FROM scratch\nCOPY --from=lib x/y /\nCOPY a /", def: Definition{Contexts: map[string]Context{"lib": {Dir: true}, "unused": {Dir: true}}},
			want: Analysis{Dirs: map[string]Dir{MainContext: {Paths: []string{"a"}}, "lib": {Paths: []string{"x/y"}}}}},
		{name: "directory in place of an image", text: "FROM node:22\nCOPY a /", def: Definition{Contexts: map[string]Context{"node:22": {Dir: true}}},
			want: Analysis{Dirs: map[string]Dir{MainContext: {Paths: []string{"a"}}, "node:22": {}}}},
		{name: "image in place of an image", text: "FROM node:22\nCOPY $SRC /", def: Definition{Contexts: map[string]Context{"node:22": {Ref: "golang"}}},
			want: Analysis{Dirs: main("from-env"), Images: golang}},
		{name: "platforms differ", text: "FROM scratch\nARG TARGETARCH\nCOPY bin-$TARGETARCH /", def: Definition{Platforms: []string{"linux/amd64", "linux/arm64"}},
			want: Analysis{Dirs: main("bin-amd64", "bin-arm64")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.def.Dockerfile = []byte(tc.text)
			got, err := analyze(t, tc.def)
			if err != nil {
				t.Fatal(err)
			}
			if got.Digest.IsZero() {
				t.Error("no digest")
			}
			got.Digest, got.Copies = cache.Digest{}, nil // see TestCopies
			if diff := cmp.Diff(&tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestCopies: what is copied for several platforms or twice is there once, with the
// context it is of and the line that says so.
func TestCopies(t *testing.T) {
	a, err := analyze(t, Definition{
		Platforms:  []string{"linux/amd64", "linux/arm64"},
		Contexts:   map[string]Context{"lib": {Dir: true}, "image": {Ref: "golang"}},
		Dockerfile: []byte("FROM node:22\nARG TARGETARCH\n# COPY no /\nADD both both $TARGETARCH /x/\ncopy --from=lib /x/y/ /\nCOPY --from=image z /\nCOPY . /all\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Copy{
		{MainContext, "triggered.txt", 0},
		{MainContext, "amd64", 4}, {MainContext, "arm64", 4}, {MainContext, "both", 4},
		{"lib", "x/y", 5},
	}
	if diff := cmp.Diff(want, a.Copies); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAnalyzeDigest says what changes the digest of a translation.
func TestAnalyzeDigest(t *testing.T) {
	base := Definition{Dockerfile: []byte("FROM golang\nARG A\nRUN echo $A\nCOPY a /"), Args: map[string]string{"A": "1"}}
	digest := func(d Definition) cache.Digest {
		a, err := analyze(t, d)
		if err != nil {
			t.Fatal(err)
		}
		return a.Digest
	}
	want := digest(base)
	for range 20 {
		if got := digest(base); got != want {
			t.Fatalf("digest is %s and then %s", want, got)
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*Definition)
		same   bool
	}{
		{"comment", func(d *Definition) { d.Dockerfile = append([]byte("# hello\n"), d.Dockerfile...) }, true},
		{"unused stage", func(d *Definition) { d.Dockerfile = append([]byte("FROM scratch AS unused\n"), d.Dockerfile...) }, true},
		{"used argument", func(d *Definition) { d.Args = map[string]string{"A": "2"} }, false},
		{"label", func(d *Definition) { d.Labels = map[string]string{"l": "v"} }, false},
		{"entry point", func(d *Definition) { d.Dockerfile = append(d.Dockerfile, "\nENTRYPOINT [\"/a\"]"...) }, false},
		{"step", func(d *Definition) { d.Dockerfile = append(d.Dockerfile, "\nRUN x"...) }, false},
		{"platform", func(d *Definition) { d.Platforms = []string{"linux/arm64"} }, false},
		{"epoch", func(d *Definition) { d.Reproducible = true }, false},
	} {
		d := base
		d.Dockerfile = append([]byte(nil), base.Dockerfile...)
		tc.change(&d)
		if same := digest(d) == want; same != tc.same {
			t.Errorf("%s: same digest: %v, want %v", tc.name, same, tc.same)
		}
	}
}

func TestAnalyzeErrors(t *testing.T) {
	for _, tc := range []struct {
		name, text   string
		line         int
		source, says string
	}{
		{"empty", "", 0, "", "empty"},
		{"unknown instruction", "FROM scratch\nCOPPY a /\n", 2, "COPPY a /", "unknown instruction"},
		{"missing argument", "FROM scratch\nCOPY a\n", 2, "COPY a", "at least two arguments"},
		{"several lines", "FROM scratch\nCOPY --nope \\\n a \\\n b\n", 2, "COPY --nope \\\n a \\\n b", "nope"},
		{"unknown image", "FROM scratch AS x\nFROM nowhere:1\nCOPY a /\n", 2, "FROM nowhere:1", "no such image"},
		{"unknown stage flag", "FROM scratch\nRUN --mount=type=nope x\n", 2, "RUN --mount=type=nope x", "nope"},
		{"bad variable", "FROM scratch\nCOPY ${a:?gone} /\n", 2, "COPY ${a:?gone} /", "gone"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := analyze(t, Definition{Dockerfile: []byte(tc.text)})
			var got *DockerfileError
			if !errors.As(err, &got) {
				t.Fatalf("error %v is no DockerfileError", err)
			}
			if got.File != "Dockerfile" || got.Line != tc.line || got.Source != tc.source || !strings.Contains(got.Error(), tc.says) {
				t.Errorf("%s:%d %q: %v", got.File, got.Line, got.Source, got)
			}
		})
	}
}

func TestAnalyzeRefuses(t *testing.T) {
	text := []byte("FROM scratch\nCOPY a /")
	for name, d := range map[string]Definition{
		"two kinds of context": {Dockerfile: text, Contexts: map[string]Context{"a": {Dir: true, Ref: "b"}}},
		"no kind of context":   {Dockerfile: text, Contexts: map[string]Context{"a": {}}},
		"name of main context": {Dockerfile: text, Contexts: map[string]Context{"context": {Dir: true}}},
		"platform":             {Dockerfile: text, Platforms: []string{"a/b/c/d/e"}},
		"scheme":               {Dockerfile: text, Contexts: map[string]Context{"a": {Ref: "file:///etc"}}},
		"target":               {Dockerfile: text, Target: "nope"},
	} {
		if _, err := analyze(t, d); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAnalyzeDiffersByPlatform(t *testing.T) {
	_, err := Analyze(t.Context(), AnalyzeRequest{
		Definition: Definition{File: "Dockerfile", Dockerfile: []byte("FROM golang\nRUN x"), Platforms: []string{"linux/amd64", "linux/arm64"}},
		Resolve: func(_ context.Context, _, platform string) (string, []byte, error) {
			if platform == "linux/amd64" {
				return goDigest, []byte(goConfig), nil
			}
			return nodeDigest, []byte(goConfig), nil
		},
	})
	if err == nil || !strings.Contains(err.Error(), "digest of its index") {
		t.Errorf("error is %v", err)
	}
}

func BenchmarkAnalyze(b *testing.B) {
	d := Definition{File: "Dockerfile", Dockerfile: []byte("FROM golang AS build\nCOPY . /src\nRUN make\nFROM scratch\nCOPY --from=build /src/out /\n")}
	for b.Loop() {
		if _, err := analyze(b, d); err != nil {
			b.Fatal(err)
		}
	}
}
