package bottlefile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// foreignNames say what stands for the names that bake and Terraform have and this
// language does not, by the kind of block that they are written in; "" is the top
// level.
var foreignNames = map[string]map[string]string{
	"": {
		"target":    `A target of bake is an image here: image "NAME" { … }.`,
		"function":  "There are no functions of one's own: what several share is a local.",
		"local":     "Write locals { NAME = … }, and refer to local.NAME.",
		"terraform": "Write bottlebuild { required_version = … }.",
		"resource":  "There are images and bottles: see docs/bottlefile.md.",
		"data":      "There are images and bottles; file and templatefile read files.",
		"module":    "There are no modules: several files in one directory, or with -f, are read as one.",
		"machine":   `A machine stands in a bottle: bottle "NAME" { image = image.NAME, and machine { … } }.`,
	},
	"image": {
		"tags":        `An image is pushed by a bottle: bottle "NAME" { image = image.NAME, and push { registry = …, tags = […] } }.`,
		"output":      `What is made of an image stands in a bottle: bottle "NAME" { image = image.NAME, and export or push { … } }.`,
		"inherits":    "What several images share is a local: args = merge(local.args, { … }).",
		"matrix":      "Write for_each, and each.key and each.value.",
		"name":        `The name stands in the header: image "NAME". With for_each it is image.NAME["KEY"].`,
		"extra_hosts": `Write add_hosts = { "NAME" = "ADDRESS" }.`,
		"secret":      "Declare secret \"NAME\" { env = \"VARIABLE\" }, and write secrets = { ID = secret.NAME }.",
		"provenance":  `Write attest = ["type=provenance,mode=max"].`,
		"sbom":        `Write attest = ["type=sbom"].`,
		"description": "Write a comment.",
		"count":       "Write for_each = toset([…]).",
		"depends_on":  "A reference makes the dependency: contexts = { base = image.base }.",
	},
	"bottle": {
		"count":      "Write for_each = toset([…]).",
		"depends_on": "A reference makes the dependency; bottles do not wait for each other.",
		"tags":       "Tags are set by a push: push { registry = …, repository = …, tags = […] }.",
	},
	"machine": {
		"volumes":     "Write a volume block for each, with guest, and with host, a directory, or name, under which one is kept.",
		"ports":       "Write a port block for each: port { host = …, and guest = … }.",
		"environment": "Did you mean \"env\"?",
		"command":     "The image's own command runs; what is to run once stands in provision { exec = […] }.",
		"healthcheck": "Write ready { exec = […] }.",
	},
}

// foreignHint returns what to write for a name of bake or Terraform, or "".
func foreignHint(s *BlockSchema, name string) string {
	kind := s.Name
	if s == Schema {
		kind = ""
	}
	if hint := foreignNames[kind][fold(name)]; hint != "" {
		return " " + hint
	}
	return ""
}

// placesOf returns in which kinds of blocks there is an attribute or a block of
// that name, if they are so few that it helps to name them.
func placesOf(name string) string {
	var kinds []string
	var walk func(*BlockSchema)
	walk = func(s *BlockSchema) {
		has := s.block(name) != nil || slices.ContainsFunc(s.Attrs, func(a *AttrSchema) bool { return a.Name == name })
		if has && s != Schema && !slices.Contains(kinds, s.Name) {
			kinds = append(kinds, s.Name)
		}
		for _, b := range s.Blocks {
			walk(b)
		}
	}
	walk(Schema)
	if len(kinds) == 0 || len(kinds) > 3 {
		return ""
	}
	for i, k := range kinds {
		kinds[i] = withArticle(k)
	}
	return fmt.Sprintf(" It stands in %s block.", strings.Join(kinds, " or "))
}

// withArticle puts "a" or "an" before the name of a block.
func withArticle(name string) string {
	if name != "" && strings.ContainsRune("aeiou", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}

// noFunctions say why functions of Terraform and bake are missing here, or what
// they are called.
var noFunctions = map[string]string{
	"timestamp": noClock, "plantimestamp": noClock,
	"uuid": noRandomness, "uuidv4": noRandomness, "bcrypt": noRandomness,
	"env": noEnvironment, "getenv": noEnvironment, "get_env": noEnvironment,
	"yamlencode": "JSON is YAML too: write jsonencode.", "yamldecode": "Keep the values in JSON, and read them with jsondecode(file(…)).",
	"rsadecrypt": "What is secret is read by secret blocks, and is never a value.",
	"abspath":    noHost, "pathexpand": noHost, "homedir": noHost,
	"absolute": "It is called abs here.", "indexof": "It is called index here.", "reverselist": "It is called reverse here.",
	"count": "It is called length here.", "len": "It is called length here.", "map": "It is called tomap here.", "list": "It is called tolist here.",
}

const (
	noClock       = "There is no clock here, so that a file always means the same. Declare a variable, and give it the time with --var."
	noRandomness  = "There is no randomness here, so that a file always means the same. sha256 of a name makes texts that differ."
	noEnvironment = "The environment reaches a bottle file through variables only: declare variable \"x\" {} and set BOTTLE_VAR_x. What is secret is read by secret \"x\" { env = \"X\" }."
	noHost        = "Paths are relative to the bottle file, wherever that is."
)

// foreignRoots are what references of other languages start with.
var foreignRoots = map[string]string{
	"path":      "Paths in a bottle file are relative to it: write \"files/x\".",
	"module":    "There are no modules: a directory of bottle files is read as one, and -f may be repeated.",
	"data":      "Nothing is looked up in other systems: declare a variable, and give its value with --var.",
	"terraform": noEnvironment,
	"target":    "A target of bake is an image here: image.NAME.",
	"count":     "There is no count: for_each = toset([\"a\", \"b\"]) makes several, and each.key tells them apart.",
	"self":      "A block cannot refer to itself: put what is shared into locals.",
}

// explainFunction says what to do about a call of a function that there is not. It
// tells whether that is what the diagnostic is about.
//
// A function that fails by a panic, as those of cty do where a number is infinite,
// would show a trace of our own calls.
func explainFunction(d *hcl.Diagnostic) bool {
	call, ok := hcl.DiagnosticExtra[interface {
		CalledFunctionName() string
		CalledFunctionNamespace() string
	}](d)
	if strings.Contains(d.Detail, panicText) {
		d.Detail = "It has no result for these values: none that is a number, or none that is finite."
		return true
	}
	if !ok || d.Summary != "Call to unknown function" {
		return false
	}
	name := call.CalledFunctionName()
	d.Detail = fmt.Sprintf("There is no function named %q.", name)
	if why := noFunctions[strings.ToLower(name)]; why != "" {
		d.Detail += " " + why
	} else if m := suggest(name, sortedKeys(functionDocs())); m != "" {
		d.Detail += fmt.Sprintf(" Did you mean %q?", m)
	} else {
		d.Detail += " docs/bottlefile.md lists those that there are."
	}
	return true
}

// typeWords are the words of type constraints, and foreignTypes what other
// languages call them.
var (
	typeWords    = []string{"string", "number", "bool", "any", "list", "set", "map", "object", "tuple"}
	foreignTypes = map[string]string{
		"str": "string", "text": "string", "int": "number", "integer": "number", "float": "number", "boolean": "bool",
		"array": "list", "dict": "map", "struct": "object",
	}
)

// explainType adds the word that was probably meant to diagnostics of a type
// constraint.
func explainType(diags hcl.Diagnostics) {
	for _, d := range diags {
		word, ok := quotedIn(d.Detail)
		if d.Summary != "Invalid type specification" || !ok || slices.Contains(typeWords, word) || strings.Contains(d.Detail, "Did you mean") {
			continue
		}
		meant := foreignTypes[strings.ToLower(word)]
		if meant == "" {
			meant = suggest(word, typeWords)
		}
		if meant != "" {
			d.Detail += fmt.Sprintf(" Did you mean %q?", meant)
		} else {
			d.Detail += " A type is string, number, bool, list(…), set(…), map(…), object({…}), tuple([…]) or any."
		}
	}
}

// panicText begins the message of cty's function.PanicError.
const panicText = "panic in function implementation"
