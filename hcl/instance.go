package bottlefile

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/zclconf/go-cty/cty"

	"bottlebuild/cache"
)

// decl is a declared image or bottle.
type decl struct {
	*block
	kind    string // "image", "bottle"
	name    string
	forEach *attr // nil for a single instance
}

func newDecl(b *block) *decl {
	return &decl{block: b, kind: b.schema.Name, name: b.label(), forEach: b.attrs["for_each"]}
}

func (d *decl) address() string { return d.kind + "." + d.name }

// sortDecls puts declarations in the order of the files, and of each file.
func (f *File) sortDecls() {
	nth := make(map[string]int, len(f.opts.Files))
	for i, s := range f.opts.Files {
		nth[s.Path] = i
	}
	slices.SortStableFunc(f.decls, func(a, b *decl) int {
		return cmp.Or(cmp.Compare(nth[a.defRange.Filename], nth[b.defRange.Filename]), cmp.Compare(a.defRange.Start.Byte, b.defRange.Start.Byte))
	})
}

// instance is one image or bottle: one per element of for_each, or the only one.
type instance struct {
	*decl
	key     string // of for_each
	address string // `image.agent["claude"]`
	each    cty.Value
	block   *block    // the declaration's, or one with what --set has for this instance
	image   cty.Value // of images: the capsule that stands for it
	body    *block    // with the blocks that dynamic ones make, see evaluator.body
	machine machineName
}

// imageRef is what an image object carries to tell which image it is.
type imageRef struct{ address string }

var imageCapsule = cty.Capsule("image", reflect.TypeFor[imageRef]())

// imageType is the type of image.NAME, or of its elements.
var imageType = cty.Object(map[string]cty.Type{"image": imageCapsule, "digest": cty.String, "id": cty.String})

// bottleMarker is an attribute that only bottle objects have, of a type that no
// output shows.
const bottleMarker = "bottle"

var bottleCapsule = cty.Capsule("bottle", reflect.TypeFor[instance]())

// expand returns the instances of a declaration, in the order of their keys.
func (ev *evaluator) expand(d *decl) []*instance {
	if is, ok := ev.instances[d]; ok {
		return is
	}
	if ev.base != nil {
		is := ev.base.instances[d]
		if d.forEach != nil && !ev.base.settled[d.address()+" (for_each)"] {
			is = ev.again(d, is)
		}
		ev.instances[d] = is
		return is
	}
	if d.forEach == nil {
		is := []*instance{newInstance(d, "", cty.NilVal)}
		ev.count(d, 1)
		ev.instances[d] = is
		return is
	}
	if !ev.enter(d.address()+" (for_each)", d.forEach.Range) {
		return nil
	}
	elements := ev.forEach(d)
	ev.leave()
	ev.faulty[d] = elements == nil
	var is []*instance
	if ev.count(d, len(elements)) {
		for _, k := range sortedKeys(elements) {
			each := cty.ObjectVal(map[string]cty.Value{"key": cty.StringVal(k), "value": elements[k]})
			i := newInstance(d, k, each)
			i.block = ev.f.blockOf(d, k)
			is = append(is, i)
		}
	}
	ev.instances[d] = is
	return is
}

// again returns the instances with the values that each.value has by now.
func (ev *evaluator) again(d *decl, is []*instance) []*instance {
	elements := ev.forEach(d)
	is = slices.Clone(is)
	for i, inst := range is {
		fresh := *inst
		if v, ok := elements[inst.key]; ok {
			fresh.each = cty.ObjectVal(map[string]cty.Value{"key": cty.StringVal(inst.key), "value": v})
		}
		is[i] = &fresh
	}
	return is
}

func newInstance(d *decl, key string, each cty.Value) *instance {
	i := &instance{decl: d, key: key, address: d.address(), each: each, block: d.block}
	if d.forEach != nil {
		i.address += "[" + strconv.Quote(key) + "]"
	}
	if d.kind == imageSchema.Name {
		i.image = cty.CapsuleVal(imageCapsule, &imageRef{i.address})
	}
	return i
}

// count adds to the number of instances and reports an excess.
func (ev *evaluator) count(d *decl, n int) bool {
	ev.total += n
	if ev.total <= MaxInstances {
		return true
	}
	at := d.defRange
	if d.forEach != nil {
		at = d.forEach.Expr.Range()
	}
	ev.report(errorAt(at, "Too many instances", "With %s the file has %d images, bottles and stages; at most %d are possible.", d.address(), ev.total, MaxInstances))
	return false
}

// forEach evaluates for_each to its elements by key.
func (ev *evaluator) forEach(d *decl) map[string]cty.Value {
	a := d.forEach
	at := a.Expr.Range()
	s := ev.scopeOf([]*attr{a}, false)
	if s.bad[a.Expr] {
		return nil
	}
	raw, diags := evalIn(a.Expr, s.ctx)
	ev.diags = append(ev.diags, diags...)
	if diags.HasErrors() {
		return nil
	}
	v, marks := raw.Unmark()
	ty := v.Type()
	summary := "Invalid for_each"
	fail := func(format string, args ...any) map[string]cty.Value {
		ev.report(errorAt(at, summary, format, args...))
		return nil
	}
	switch _, poisonedMark := marks[poisonMark{}]; {
	case poisonedMark || raw.HasMarkDeep(poisonMark{}):
		return nil
	case marks.Has(sensitiveMark{}):
		return fail("for_each may not be sensitive: its keys stand in addresses, which are printed. If only values are secret, make the keys known: { for k, v in MAP : nonsensitive(k) => v }.")
	case !v.IsKnown():
		return fail("for_each must be known before anything runs, and this depends on %s. Use keys that stand in the file; the values of the elements may be known later.", afterRun(unmark(raw).refs))
	case v.IsNull():
		return fail("for_each is null. For no instances write {}.")
	case ty.IsListType() || ty.IsTupleType():
		return fail("for_each takes a map, an object or a set of strings; this is a %s. Write toset(…) around a list of strings.", ty.FriendlyNameForConstraint())
	case ty.IsSetType() && ty.ElementType() != cty.String && !(ty.ElementType() == cty.DynamicPseudoType && v.LengthInt() == 0):
		return fail("for_each takes a map, an object or a set of strings; this is a set of %s.", ty.ElementType().FriendlyName())
	case !ty.IsSetType() && !ty.IsMapType() && !ty.IsObjectType():
		return fail("for_each takes a map, an object or a set of strings; this is a %s.", ty.FriendlyName())
	case !ty.IsObjectType() && v.LengthInt() > MaxInstances:
		return fail("It has %d elements; at most %d images, bottles and stages are possible.", v.LengthInt(), MaxInstances)
	}
	elements := map[string]cty.Value{}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if ty.IsSetType() {
			k = e
		}
		switch k, _ = k.Unmark(); {
		case !k.IsKnown():
			return fail("Its elements must be known before anything runs, and this depends on %s.", afterRun(unmark(raw).refs))
		case k.IsNull() || k.AsString() == "":
			return fail("Its keys may not be null or empty: they stand in addresses.")
		case len(k.AsString()) > 256:
			return fail("The key %s is too long: at most 256 bytes, since it stands in addresses.", show(k, false))
		}
		elements[k.AsString()] = e
	}
	return elements
}

func afterRun(refs []string) string {
	if len(refs) == 0 {
		return "what is known only later"
	}
	return fmt.Sprintf("what is known only after %s has run", refs[0])
}

// declValue is what image.NAME or bottle.NAME is: an object, or with for_each a
// map of objects.
func (ev *evaluator) declValue(d *decl) cty.Value {
	is := ev.expand(d)
	if ev.faulty[d] {
		return poisoned
	}
	object := ev.imageObject
	if d.kind == bottleSchema.Name {
		object = ev.bottleObject
	}
	if d.forEach == nil {
		return object(is[0])
	}
	if len(is) == 0 {
		if d.kind == imageSchema.Name {
			return cty.MapValEmpty(imageType)
		}
		none := newInstance(d, "", cty.NilVal)
		none.machine, none.body = machineName{done: true}, d.block
		return cty.MapValEmpty(ev.bottleObject(none).Type())
	}
	var m map[string]cty.Value
	if ev.base != nil { // a node needs few outputs of many instances
		m = maps.Clone(ev.base.objects[d])
	}
	found := m != nil
	if !found {
		m = make(map[string]cty.Value, len(is))
	}
	for _, i := range is {
		if !found || ev.ran[i.address] {
			m[i.key] = object(i)
		}
	}
	ev.objects[d] = m
	if d.dynamic && !cty.CanMapVal(m) { // dynamic blocks gave them different stages
		return cty.ObjectVal(m)
	}
	return cty.MapVal(m)
}

func (ev *evaluator) imageObject(i *instance) cty.Value {
	return cty.ObjectVal(map[string]cty.Value{
		"image":  i.image,
		"digest": ev.outputValue(i.address, func(o cache.Output) string { return o.Digest.String() }),
		"id":     ev.outputValue(i.address, func(o cache.Output) string { return o.Attrs["config"] }),
	})
}

// bottleObject has an attribute for each stage that the bottle has.
func (ev *evaluator) bottleObject(i *instance) cty.Value {
	digest := func(o cache.Output) string { return o.Digest.String() }
	fact := func(name string) func(cache.Output) string {
		return func(o cache.Output) string { return o.Attrs[name] }
	}
	body := ev.body(i)
	attrs := map[string]cty.Value{bottleMarker: cty.CapsuleVal(bottleCapsule, i)}
	list := func(stage, name string) {
		var vs []cty.Value
		for n := range body.blocks[stage] {
			address := fmt.Sprintf("%s.%s[%d]", i.address, stage, n)
			vs = append(vs, cty.ObjectVal(map[string]cty.Value{
				"digest": ev.outputValue(address, digest), name: ev.outputValue(address, fact(name)),
			}))
		}
		if len(vs) > 0 {
			attrs[stage] = cty.ListVal(vs)
		}
	}
	list("export", "path")
	list("push", "ref")
	machine := body.one("machine")
	if machine != nil || body.one("pack") != nil {
		attrs["pack"] = cty.ObjectVal(map[string]cty.Value{"digest": ev.outputValue(i.address+".pack", digest)})
	}
	if machine != nil {
		name := cty.UnknownVal(cty.String)
		if n := ev.machineName(i); n.ok {
			name = cty.StringVal(n.name).Mark(refMark{i.address + ".machine"})
		} else {
			name = name.Mark(poisonMark{})
		}
		attrs["machine"] = cty.ObjectVal(map[string]cty.Value{"name": name})
	}
	return cty.ObjectVal(attrs)
}

var unknownText = cty.UnknownVal(cty.String).RefineNotNull()

// outputValue is a string of a node's output: unknown until it has run, and
// marked with its address.
func (ev *evaluator) outputValue(address string, of func(cache.Output) string) cty.Value {
	v := unknownText
	if o, ok := ev.inputs[address]; ok {
		v = cty.StringVal(of(o))
	}
	return v.Mark(refMark{address})
}
