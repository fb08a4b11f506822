package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// searched PATH… says what found looks through, files and directories.
func cmdSearched(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: searched PATH...")
	}
	for i := range args {
		args[i] = ts.MkAbs(args[i])
	}
	ts.Setenv("SEARCHED", strings.Join(args, ":"))
}

// found TEXT checks that a text stands somewhere in a file that is searched, or
// in a file's name; ! found TEXT that it does not, and neither does its base64,
// at any offset, nor its hexadecimal form.
func cmdFound(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] found TEXT")
	}
	forms := [][]byte{[]byte(args[0])}
	if neg {
		forms = append(forms, []byte(hex.EncodeToString([]byte(args[0]))))
		for skip := range 3 { // what three bytes share does not depend on their neighbours
			part := args[0][skip:]
			part = part[:len(part)/3*3]
			forms = append(forms, []byte(base64.StdEncoding.EncodeToString([]byte(part))), []byte(base64.URLEncoding.EncodeToString([]byte(part))))
		}
	}
	where, files := "", 0
	for _, root := range filepath.SplitList(ts.Getenv("SEARCHED")) {
		ts.Check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // the daemon removes things meanwhile
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return nil
			}
			files++
			for _, form := range forms {
				if bytes.Contains(b, form) || strings.Contains(path, string(form)) {
					where = path
				}
			}
			return nil
		}))
	}
	switch {
	case files < 20:
		ts.Fatalf("only %d files were searched", files)
	case neg && where != "":
		ts.Fatalf("%q, or a form of it, is in %s", args[0], where)
	case !neg && where == "":
		ts.Fatalf("%q is in none of %d files", args[0], files)
	}
}
