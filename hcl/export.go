package bottlefile

import (
	"strings"

	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
)

var exportSchema = &BlockSchema{
	Name: "export", Many: true,
	Doc: "A file or directory with the image.",
	Attrs: []*AttrSchema{
		{Name: "path", Type: cty.String, TypeName: "path", Required: true, InKey: true, Doc: "Where to write it, relative to the bottle file."},
		{Name: "format", Type: cty.String, Default: `"oci"`, InKey: true, Doc: "oci, docker (for docker load), or oci-dir."},
	},
}

var formats = []string{tasks.FormatOCI, tasks.FormatDocker, tasks.FormatOCIDir}

func (d *decoder) export(image string, inst *instance) tasks.Export {
	p := tasks.Export{Image: image, Name: archiveName(inst)}
	p.Format = d.word("format", tasks.FormatOCI, formats)
	if v, ok := d.text("path"); ok {
		if strings.HasSuffix(v.AsString(), "/") && p.Format != tasks.FormatOCIDir {
			d.fault(v, "Invalid path", "%s names a directory, and format %s writes a file. Add a file name, or write format = \"oci-dir\".", v.quote(), p.Format)
		}
		path, ok := d.hostPath(v)
		p.Path = path
		fi, err := d.ev.f.files.stat(path)
		switch {
		case ok && d.ev.f.isSource(path):
			d.fault(v, "Invalid path", "%s is the bottle file itself, which the export would take the place of.", v.quote())
		case !ok || err != nil:
		case fi.IsDir() && p.Format != tasks.FormatOCIDir:
			d.fault(v, "Invalid path", "%s is a directory, and format %s writes a file. Add a file name, or write format = \"oci-dir\".", v.quote(), p.Format)
		case !fi.IsDir() && p.Format == tasks.FormatOCIDir:
			d.fault(v, "Invalid path", "%s is a file, and format oci-dir writes a directory.", v.quote())
		}
	}
	return p
}

// archiveName is what the image of a docker archive is called when loaded.
func archiveName(inst *instance) string {
	return "bottlebuild/" + repositoryName(inst) + ":latest"
}

// repositoryName makes a repository's name of a bottle's name and key.
func repositoryName(inst *instance) string {
	name := inst.name
	if inst.key != "" {
		name += "-" + inst.key
	}
	name = strings.ToLower(slug(name, "-"))
	var b strings.Builder
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '_' }) {
		if b.Len() > 0 {
			b.WriteByte('-')
		}
		b.WriteString(part)
	}
	if b.Len() == 0 {
		return "image"
	}
	return b.String()
}
