package remote

import (
	"fmt"
	"strings"
	"testing"
)

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
