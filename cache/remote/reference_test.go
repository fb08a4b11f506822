package remote

import (
	"fmt"
	"strings"
	"testing"
)

func TestParsePrefix(t *testing.T) {
	for prefix, want := range map[string]string{
		"registry.example.com/acme": "",
		"localhost:5000":            "",
		"127.0.0.1:5640/a/b/":       "",
		"[::1]:5000/x":              "",
		"oci:127.0.0.1:5640/acme":   `"oci:127.0.0.1:5640" is no host`,
		":":                         `":" is no host`,
		"":                          "is no host",
		"host.example:port/x":       "is no host",
		"oci://host.example/x":      "leave out the scheme",
		"acme/x":                    "must start with a host",
	} {
		_, err := parsePrefix(prefix, Trusted, false)
		if got := fmt.Sprint(err); (err == nil) != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", prefix, got, want)
		}
	}
}

func TestParsePlaces(t *testing.T) {
	for list, want := range map[string]string{
		"local:rw,registry.example.com/acme:r": "[{local {true true} true} {registry.example.com/acme {true false} true}]",
		"localhost:5000/x:rw":                  "[{localhost:5000/x {true true} true}]",
		"localhost:5000/x":                     "[{localhost:5000/x {true false} false}]",
		"localhost:5000:w":                     "[{localhost:5000 {false true} true}]",
		"ci:w":                                 "[{ci {false true} true}]",
		"local":                                "[{local {true false} false}]",
		"local:r":                              "local:rw",
		"a/b:x":                                "write r, w or rw",
		"":                                     "write local:rw",
	} {
		places, err := ParsePlaces(list)
		got := fmt.Sprint(places)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", list, got, want)
		}
	}
}
