package bottlefile

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// TestTerraformFunctions holds that functions of Terraform's names yield what
// Terraform's do. testdata/functions.jsonl has what its public tests say of values
// that are known and not marked: a call of a function or an expression on each
// line, and its result, or that it is an error.
func TestTerraformFunctions(t *testing.T) {
	file, err := os.Open("testdata/functions.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dir := project(t)
	n := 0
	for lines := bufio.NewScanner(file); lines.Scan(); n++ {
		var fact struct {
			Call, Expr string
			Args       []json.RawMessage
			Want       json.RawMessage
			Error      bool
		}
		if err := json.Unmarshal(lines.Bytes(), &fact); err != nil {
			t.Fatal(err)
		}
		value := func(b json.RawMessage) cty.Value {
			v, err := ctyjson.Unmarshal(b, cty.DynamicPseudoType)
			if err != nil {
				t.Fatalf("%s: %v", lines.Text(), err)
			}
			return v
		}
		var got cty.Value
		if fact.Expr != "" {
			got, err = evaluate(t, dir, fact.Expr)
		} else {
			var args []cty.Value
			for _, a := range fact.Args {
				args = append(args, value(a))
			}
			got, err = boundedFunctions()[fact.Call].Call(args)
		}
		switch {
		case fact.Error != (err != nil):
			t.Errorf("%s: got %#v, %v", lines.Text(), got, err)
		case err == nil && !got.RawEquals(value(fact.Want)):
			t.Errorf("%s: got %#v", lines.Text(), got)
		}
	}
	if n < 300 {
		t.Errorf("only %d facts", n)
	}
}
