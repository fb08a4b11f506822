package cache_test

import (
	"slices"
	"testing"

	"bottlebuild/cache"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseDigest(t *testing.T) {
	good := cache.DigestOf([]byte("x")).String()
	for in, ok := range map[string]bool{
		good: true, good[7:]: false, "sha512" + good[6:]: false, good + "0": false, good[:70]: false,
		"sha256:" + "G" + good[8:]: false, "SHA256:" + good[7:]: false, "": false,
		"sha256:2D711642B726B04401627CA9FBAC32F5C8530FB1903CC4DB02258717921A4881": false,
	} {
		d, err := cache.ParseDigest(in)
		if (err == nil) != ok || ok && d.String() != in {
			t.Errorf("ParseDigest(%q) = %v, %v", in, d, err)
		}
	}
}

// drawRecipe draws recipes from few strings, so that equal ones come up.
func drawRecipe(t *rapid.T, label string) *cache.Recipe {
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "a", "b", "a b", "a\nb", `"`, "\x00", "\xff"}), rapid.String())
	r := cache.NewRecipe(rapid.SampledFrom([]string{"image", "pack"}).Draw(t, label+" kind"))
	for range rapid.IntRange(0, 4).Draw(t, label+" components") {
		name := text.Draw(t, "name")
		switch rapid.IntRange(0, 2).Draw(t, "type") {
		case 0:
			r.Add(name, text.Draw(t, "value"))
		case 1:
			r.AddDigest(name, cache.DigestOf([]byte(text.Draw(t, "bytes"))))
		case 2:
			r.AddList(name, rapid.SliceOfN(text, 1, 3).Draw(t, "list"))
		}
	}
	return r
}

func TestRecipeTextKeepsTheKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecipe(t, "recipe")
		back, err := cache.ParseRecipe(r.Text())
		if err != nil {
			t.Fatalf("%v in\n%s", err, r.Text())
		}
		if back.Key() != r.Key() || back.Text() != r.Text() {
			t.Fatalf("text\n%s\nread as\n%s", r.Text(), back.Text())
		}
	})
}

func TestEqualKeysMeanEqualRecipes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawRecipe(t, "a"), drawRecipe(t, "b")
		if (a.Key() == b.Key()) != (a.Text() == b.Text()) {
			t.Fatalf("keys %v and %v of\n%s\n%s", a.Key(), b.Key(), a.Text(), b.Text())
		}
		// The order of components is of no account, unless they share a name.
		names := map[string]bool{}
		for _, c := range a.Components {
			names[c.Name] = true
		}
		key := a.Key()
		if slices.Reverse(a.Components); len(names) == len(a.Components) && a.Key() != key {
			t.Fatalf("the order counts in\n%s", a.Text())
		}
	})
}

func TestParseRecipeRefuses(t *testing.T) {
	for _, text := range []string{
		"", "recipe", "recipe 0 \"image\"\n", "recipe 1 image\n", "recipe 1 \"image\"\nx \"a\" \"b\"\n",
		"recipe 1 \"image\"\ns \"a\"\n", "recipe 1 \"image\"\ns \"a\" b\n", "recipe 1 \"image\"\nd \"a\" sha256:00\n", "recipe 1 \"image\"\n\n",
	} {
		if r, err := cache.ParseRecipe(text); err == nil {
			t.Errorf("%q was read as %+v", text, r)
		}
	}
}

func TestDiff(t *testing.T) {
	before, after := cache.NewRecipe("image"), cache.NewRecipe("image")
	before.Add("same", "1")
	before.Add("changed", "1")
	before.Add("gone", "1")
	after.Add("changed", "2")
	after.Add("new", "3")
	after.Add("same", "1")
	want := []cache.Change{{"changed", "1", "2"}, {"gone", "1", ""}, {"new", "", "3"}}
	if d := cmp.Diff(want, cache.Diff(before, after)); d != "" {
		t.Error(d)
	}
}
