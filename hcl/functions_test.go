package bottlefile

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"
)

// evaluate returns the value of an expression in a file of its own.
func evaluate(t testing.TB, dir, expr string) (cty.Value, error) {
	t.Helper()
	f, diags := load(t, dir, "locals {\nv = "+expr+"\n}", nil)
	if diags.HasErrors() {
		return cty.NilVal, diags
	}
	return f.eval.locals["v"], nil
}

// TestFunctions compares expressions with equal ones. Those of Terraform's names
// have the results of its documentation.
func TestFunctions(t *testing.T) {
	dir := project(t)
	tests := map[string]string{
		`abs(-12.4)`: `12.4`, `ceil(5.1)`: `6`, `floor(4.9)`: `4`, `log(16, 2)`: `4`, `max(12, 54, 3)`: `54`, `min([12, 54, 3]...)`: `3`,
		`parseint("FF", 16)`: `255`, `parseint("-1011011", 2)`: `-91`, `pow(3, 2)`: `9`, `signum(-13)`: `-1`,

		`chomp("hello\r\n\n")`: `"hello"`, `endswith("hello world", "world")`: `true`, `startswith("hello world", "world")`: `false`,
		`strcontains("hello world", "wor")`: `true`, `strcontains("hello world", "wod")`: `false`,
		`format("%03d %s", 7, "x")`: `"007 x"`, `formatlist("%s!", ["a", "b"])`: `tolist(["a!", "b!"])`, `indent(2, "a\nb")`: `"a\n  b"`,
		`join(", ", ["foo", "bar"])`: `"foo, bar"`, `lower("HELLO")`: `"hello"`, `upper("hello")`: `"HELLO"`, `title("hello world")`: `"Hello World"`,
		`regex("[a-z]+", "53453453.345345aaabbbccc23454")`: `"aaabbbccc"`, `regexall("[a-z]+", "1234abcd5678efgh9")`: `tolist(["abcd", "efgh"])`,
		`replace("1 + 2 + 3", "+", "-")`: `"1 - 2 - 3"`, `replace("hello world", "/w.*d/", "everybody")`: `"hello everybody"`, `replace("a", "/", "b")`: `"a"`,
		`replace("xAy", "/(A)/", "<$1>")`: `"x<A>y"`,
		`split(",", "foo,bar")`:           `tolist(["foo", "bar"])`, `strrev("hello")`: `"olleh"`, `substr("hello world", 1, 4)`: `"ello"`, `substr("hello world", -5, -1)`: `"world"`,
		`trim("?!hello?!", "!?")`: `"hello"`, `trimprefix("helloworld", "hello")`: `"world"`, `trimsuffix("helloworld", "world")`: `"hello"`, `trimspace("  hello\n\n")`: `"hello"`,

		`alltrue(["true", true])`: `true`, `alltrue([true, false])`: `false`, `alltrue([])`: `true`, `alltrue([true, null])`: `false`,
		`anytrue(["true"])`: `true`, `anytrue([true, false])`: `true`, `anytrue([])`: `false`, `anytrue([false, null])`: `false`,
		`chunklist(["a", "b", "c"], 2)`: `tolist([tolist(["a", "b"]), tolist(["c"])])`, `coalesce("", "b")`: `"b"`, `coalesce(null, 1, 2)`: `1`, `coalescelist([], ["c"])`: `["c"]`,
		`compact(["a", "", "b", null])`: `tolist(["a", "b"])`, `concat(["a", ""], ["b"])`: `["a", "", "b"]`, `contains(["a", "b"], "a")`: `true`,
		`distinct(["a", "b", "a"])`: `tolist(["a", "b"])`, `element(["a", "b", "c"], 4)`: `"b"`, `flatten([["a", "b"], [], [["c"]]])`: `["a", "b", "c"]`,
		`index(["a", "b", "c"], "b")`: `1`, `keys({ b = 1, a = 2 })`: `["a", "b"]`, `values({ b = 1, a = 2 })`: `[2, 1]`,
		`length([])`: `0`, `length({ a = 1 })`: `1`, `length("👾🕹️")`: `2`, `length("")`: `0`, `length(toset(["a"]))`: `1`,
		`lookup({ a = "ay" }, "a", "what?")`: `"ay"`, `lookup({ a = "ay" }, "c", "what?")`: `"what?"`, `lookup(tomap({ a = "ay" }), "c", "what?")`: `"what?"`, `lookup({ a = 1 }, "a")`: `1`,
		`matchkeys(["i-1", "i-2", "i-3"], ["w", "e", "w"], ["w"])`: `tolist(["i-1", "i-3"])`,
		`merge({ a = "b" }, { a = "c", d = 1 })`:                   `{ a = "c", d = 1 }`, `one([])`: `null`, `one(["a"])`: `"a"`, `one(toset(["a"]))`: `"a"`,
		`range(3)`: `tolist([0, 1, 2])`, `range(4, 1)`: `tolist([4, 3, 2])`, `reverse([1, 2])`: `[2, 1]`,
		`setintersection(["a", "b"], ["b"])`: `toset(["b"])`, `setsubtract(["a", "b"], ["b"])`: `toset(["a"])`, `setunion(["a"], ["b"])`: `toset(["a", "b"])`,
		`setproduct(["a"], ["b", "c"])`: `tolist([["a", "b"], ["a", "c"]])`,
		`slice(["a", "b", "c"], 1, 2)`:  `["b"]`, `sort(["e", "d"])`: `tolist(["d", "e"])`, `sum([10, 13.5, "1"])`: `24.5`,
		`transpose({ a = ["1", "2"], b = ["2"] })`: `tomap({ "1" = tolist(["a"]), "2" = tolist(["a", "b"]) })`, `zipmap(["a", "b"], [1, 2])`: `{ a = 1, b = 2 }`,

		`add(1, 2)`: `3`, `subtract(1, 2)`: `-1`, `multiply(3, 2)`: `6`, `divide(1, 2)`: `0.5`, `modulo(-7, 4)`: `-7 % 4`, `negate(2)`: `-2`, `int(-1.8)`: `-1`,
		`equal("a", "a")`: `true`, `notequal("", "a")`: `true`, `and(true, false)`: `false`, `or(true, false)`: `true`, `not(false)`: `true`,
		`greaterthan(2, 2)`: `false`, `greaterthanorequalto(2, 2)`: `true`, `lessthan(1, 2)`: `true`, `lessthanorequalto(3, 2)`: `false`,
		`regex_replace("a-b", "([a-z])-", "$1+")`: `"a+b"`, `hasindex(["a"], 1)`: `false`, `hasindex(tomap({ a = 1 }), "a")`: `true`,
		`sethaselement(["a"], "b")`: `false`, `setsymmetricdifference(["a", "b"], ["b", "c"])`: `toset(["a", "c"])`,

		`base64encode("Hello World")`: `"SGVsbG8gV29ybGQ="`, `base64decode("SGVsbG8gV29ybGQ=")`: `"Hello World"`,
		`csvdecode("a,b\n1,2")`: `tolist([{ a = "1", b = "2" }])`, `jsonencode({ hello = "world" })`: `"{\"hello\":\"world\"}"`, `jsondecode("{\"a\": [1, null]}")`: `{ a = [1, null] }`,
		`urlencode("Hello World!")`: `"Hello+World%21"`, `urldecode("Hello+World%21")`: `"Hello World!"`,
		`md5("hello world")`:          `"5eb63bbbe01eeed093cb22bb8f5acdc3"`,
		`sha1("hello world")`:         `"2aae6c35c94fcfb415dbe95f408b9ce91ee846ed"`,
		`sha256("hello world")`:       `"b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"`,
		`substr(sha512("x"), 0, 8)`:   `"a4abd444"`,
		`base64sha256("hello world")`: `"uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="`, `length(base64sha512("x"))`: `88`,

		`cidrhost("10.12.112.0/20", 16)`: `"10.12.112.16"`, `cidrhost("10.12.112.0/20", 268)`: `"10.12.113.12"`, `cidrhost("10.12.112.0/20", -1)`: `"10.12.127.255"`,
		`cidrhost("fd00:fd12:3456:7890:00a2::/72", 34)`: `"fd00:fd12:3456:7890::22"`, `cidrnetmask("172.16.0.0/12")`: `"255.240.0.0"`, `cidrnetmask("0.0.0.0/0")`: `"0.0.0.0"`,
		`cidrsubnet("172.16.0.0/12", 4, 2)`: `"172.18.0.0/16"`, `cidrsubnet("10.1.2.0/24", 4, 15)`: `"10.1.2.240/28"`, `cidrsubnet("fd00:fd12:3456:7890::/56", 16, 162)`: `"fd00:fd12:3456:7800:a200::/72"`,
		`cidrsubnets("10.1.0.0/16", 4, 4, 8, 4)`: `tolist(["10.1.0.0/20", "10.1.16.0/20", "10.1.32.0/24", "10.1.48.0/20"])`,

		`basename("a/b.txt")`: `"b.txt"`, `dirname("a/b.txt")`: `"a"`, `formatdate("YYYY-MM-DD", "2018-01-02T23:12:01Z")`: `"2018-01-02"`, `timeadd("2017-11-22T00:00:00Z", "10m")`: `"2017-11-22T00:10:00Z"`,

		`can(tonumber("x"))`: `false`, `try(tonumber("x"), 3)`: `3`, `tobool("true")`: `true`, `tonumber("3")`: `3`, `tostring(3)`: `"3"`,
		`toset(["b", "a", "a"])`: `toset(["a", "b"])`, `tolist(["a", 1])`: `tolist(["a", "1"])`, `tomap({ a = 1, b = "x" })`: `tomap({ a = "1", b = "x" })`, `tolist(toset(["a"]))`: `tolist(["a"])`,
		`issensitive(sensitive("x"))`: `true`, `issensitive("x")`: `false`, `nonsensitive(sensitive("x"))`: `"x"`, `issensitive({ for k, v in sensitive({ a = 1 }) : k => v })`: `true`,

		`file("files/prompt.txt")`: `"You are a bottle.\n"`, `file("${"./files"}/../files/prompt.txt")`: `"You are a bottle.\n"`, `filebase64("files/binary")`: `"//4="`,
		`filesha256("files/deep/a.txt")`: `sha256("a")`, `fileexists("files/prompt.txt")`: `true`, `fileexists("files/nope")`: `false`, `fileexists("files")`: `false`,
		`fileset("files", "*.txt")`: `toset(["prompt.txt"])`, `fileset("files", "**/*.txt")`: `toset(["deep/a.txt", "prompt.txt"])`, `fileset(".", "src/*")`: `toset(["src/main.c"])`, `fileset("files", "nope*")`: `toset(slice([""], 0, 0))`,
		`templatefile("files/motd.tmpl", { name = upper("x"), hosts = ["a", "b"] })`: `"Welcome to X\n- a\n- b\n"`,
	}
	for expr, want := range tests {
		t.Run(expr, func(t *testing.T) {
			got, err := evaluate(t, dir, expr)
			if err != nil {
				t.Fatal(err)
			}
			wanted, err := evaluate(t, dir, want)
			if err != nil {
				t.Fatal(err)
			}
			got, _ = got.UnmarkDeep()
			if got.IsNull() && wanted.IsNull() {
				return
			}
			if wanted.Type().IsSetType() && wanted.LengthInt() == 0 && got.Type().IsSetType() && got.LengthInt() == 0 {
				return
			}
			if !got.RawEquals(wanted) {
				t.Errorf("got %#v, want %#v", got, wanted)
			}
		})
	}
}

func TestFilesStayInside(t *testing.T) {
	dir := project(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "src/main.c"), MaxFileSize+1); err != nil {
		t.Fatal(err)
	}
	for _, expr := range []string{
		`file("link")`, `file("linked/secret")`, `file("../x")`, `file("files/../../x")`, fmt.Sprintf("file(%q)", filepath.Join(outside, "secret")),
		`filebase64("link")`, `filesha256("link")`, `templatefile("link", {})`, `fileset("linked", "*")`, `file("src/main.c")`,
	} {
		if v, err := evaluate(t, dir, expr); err == nil {
			t.Errorf("%s yields %#v", expr, v)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", expr, err)
		}
	}
	if v, err := evaluate(t, dir, fmt.Sprintf("file(%q)", filepath.Join(dir, "files/prompt.txt"))); err != nil {
		t.Errorf("an absolute path inside: %#v, %v", v, err)
	}
}

func TestStableSubnet(t *testing.T) {
	call := func(base string, bits int, name string) string {
		v, err := stableSubnetFunc.Call([]cty.Value{cty.StringVal(base), cty.NumberIntVal(int64(bits)), cty.StringVal(name)})
		if err != nil {
			t.Fatal(err)
		}
		return v.AsString()
	}
	rapid.Check(t, func(t *rapid.T) {
		base := netip.PrefixFrom(netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "base"))), rapid.IntRange(0, 32).Draw(t, "length"))
		bits := rapid.IntRange(0, 32-base.Bits()).Draw(t, "bits")
		name := rapid.String().Draw(t, "name")
		got := netip.MustParsePrefix(call(base.String(), bits, name))
		if got.Bits() != base.Bits()+bits || !base.Contains(got.Addr()) || got.Masked() != got {
			t.Errorf("%s is no network of %s with %d more bits", got, base, bits)
		}
		if again := call(base.String(), bits, name); again != got.String() {
			t.Errorf("the same name has %s and %s", got, again)
		}
	})
	// The networks of machines that exist must never move.
	if got := call("10.0.0.0/8", 16, "claude"); got != "10.200.87.0/24" {
		t.Errorf("claude has %s", got)
	}
	if call("10.0.0.0/8", 16, "claude") == call("10.0.0.0/8", 16, "codex") {
		t.Error("claude and codex share a network")
	}
}
