package buildkit

import "testing"

func TestSourcesVary(t *testing.T) {
	for text, want := range map[string]bool{
		"FROM a\nCOPY f /$HOME\n":                                          true, // it takes no chances
		"FROM a\nCOPY --chown=1 f /f\nENV A=$B\nRUN echo $A\n":             false,
		"ARG V=1\nFROM a:$V\nADD f g /d/\n":                                false,
		"FROM a\nRUN --mount=type=bind,source=$S,target=/s true\n":         true,
		"FROM a\nRUN --mount=type=bind,source=s,target=/s echo $S\n":       false,
		"FROM a\nadd ${F} /f\n":                                            true,
		"FROM a\nCOPY <<E /f\n$A\nE\n":                                     false,
		"FROM a\nCOPY a \\\n  $B /\n":                                      true,
		"# escape=`\nFROM a\nCOPY a `\n  $B /\n":                           true,
		"no Dockerfile at all, which is parsed as an instruction, so no\n": false,
		"": true,
	} {
		if got := SourcesVary([]byte(text)); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
