package tasks

import (
	"context"
	"path"
	"strings"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/buildkit"
	"bottlebuild/tasks/progress"
	"bottlebuild/tasks/registry"
)

func (w *Worker) describePush(p Push, s graph.Spec, r *cache.Recipe) {
	if p.Registry.Embedded {
		r.Add("registry", "embedded:"+p.Registry.Name)
	} else {
		r.Add("registry", p.Registry.URL)
	}
	r.Add("repository", p.Repository)
	r.AddList("tags", p.Tags)
	if image, ok := s.Inputs[p.Image]; ok {
		r.AddDigest("image", image.Digest)
	}
}

// checkPush asks the registry whether it still has what was pushed.
func (w *Worker) checkPush(ctx context.Context, p Push, s graph.Spec, entry *cache.Entry) (graph.Verdict, error) {
	if entry == nil {
		return graph.Default(s, nil), nil
	}
	// What was pushed, with the attestations of that time.
	_, text, _ := strings.Cut(entry.Output.Attrs["ref"], "@")
	top, err := cache.ParseDigest(text)
	if err != nil {
		return graph.Default(s, nil), nil
	}
	var missing []string
	if p.Registry.Embedded {
		for _, tag := range p.Tags {
			switch m, err := w.Store.Tagged(p.embeddedName(tag)); {
			case err != nil:
				missing = append(missing, "tag "+tag+" is gone")
			case m.Digest != top:
				missing = append(missing, "tag "+tag+" points to "+m.Digest.String())
			}
		}
	} else {
		if missing, err = w.Registry.Check(ctx, p.target(), top); err != nil {
			return graph.Verdict{}, err
		}
	}
	if len(missing) == 0 {
		return graph.Default(s, entry), nil
	}
	v := graph.Verdict{Decision: graph.Run}
	for _, m := range missing {
		v.Reasons = append(v.Reasons, graph.Reason{Cause: CauseTagLost, Component: "registry", Text: m})
	}
	return v, nil
}

// runPush pushes an image. An embedded registry serves the store itself, so
// that there a push is no more than the tags.
func (w *Worker) runPush(ctx context.Context, p Push, work graph.Work) (out cache.Output, err error) {
	image, err := w.needInput(ctx, work, p.Image)
	if err != nil {
		return out, err
	}
	image = withAttestations(image)
	if !p.Registry.Embedded {
		res, err := w.Registry.Push(ctx, image, p.target(), w.sink(work))
		if err != nil {
			return out, err
		}
		return pushed(res.Ref), nil
	}
	step := progress.Start(w.sink(work), "tag in the embedded registry "+p.Registry.Name)
	defer func() { step.Done(err) }()
	for _, tag := range p.Tags {
		if err := w.Store.Tag(ctx, p.embeddedName(tag), image.Blobs[0]); err != nil {
			return out, err
		}
	}
	return pushed(path.Join(p.Registry.Name, p.Repository) + "@" + image.Digest.String()), nil
}

// withAttestations returns an image as it is given to others: together with its
// attestations, if it has any.
func withAttestations(image cache.Output) cache.Output {
	if top, ok := image.Blob(buildkit.Attested); ok {
		image.Digest, image.Blobs = top.Digest, append([]cache.Blob{top}, image.Blobs...)
	}
	return image
}

func pushed(ref string) cache.Output {
	return cache.Output{Digest: cache.DigestOf([]byte(ref)), Attrs: map[string]string{"ref": ref}}
}

// embeddedName is what an image is called in the store's index.
func (p Push) embeddedName(tag string) string {
	return path.Join(p.Registry.Name, p.Repository) + ":" + tag
}

func (p Push) target() registry.Target {
	return registry.Target{Registry: strings.TrimSuffix(p.Registry.URL, "/"), Repository: p.Repository, Tags: p.Tags, Insecure: p.Registry.Insecure}
}
