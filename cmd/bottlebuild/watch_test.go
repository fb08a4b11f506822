package main

import "testing"

// The file of --metadata-file is written by every run, and may be in a directory that
// is watched.
func TestWatchPassesOverWhatItWrites(t *testing.T) {
	w := &watch{own: []string{"/p/.cache"}, report: "/p/m.json"}
	for path, want := range map[string]bool{
		"/p/.cache": true, "/p/m.json": true, "/p/.m.json123456": true,
		"/p/bottles.hcl": false, "/p/m.json.hcl": false, "/p/web/m.json": false, "/p/.env": false,
	} {
		if got := w.wrote(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if w.report = ""; w.wrote("/p/.env") || w.wrote("/p/m.json") {
		t.Error("without --metadata-file everything else counts")
	}
}
