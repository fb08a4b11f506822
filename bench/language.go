package main

import (
	"context"
	"errors"
	"fmt"
)

// language is what parsing and compiling 1,000 bottles of one for_each takes, with
// a pack and a machine each: the time of validate over that of a file without any.
func (b *bench) language(ctx context.Context) ([]line, error) {
	const dir, empty, figure = "language", "language-empty", 150
	source := fmt.Sprintf(`locals { agents = { for i in range(%d) : format("a%%04d", i) => { port = 10000 + i, cpus = 1 + i %% 4 } } }
image "base" { dockerfile_inline = "FROM scratch" }
bottle "agent" {
  for_each = local.agents
  image    = image.base
  pack {}
  machine {
    name   = "agent-${each.key}"
    cpus   = each.value.cpus
    memory = "1GiB"
    env    = { NAME = each.key, LANG = "C.UTF-8" }
    network { allow_hosts = ["api.example.com", "github.com"] }
    file "/etc/prompt" { content = "You are ${each.key}." }
    port {
      host  = each.value.port
      guest = 80
    }
    provision { exec = ["chown", "-R", "node", "/home/node"] }
    ready { tcp = 80 }
  }
}
`, planned)
	if err := errors.Join(b.write(source, dir, "bottles.hcl"), b.write("# nothing\n", empty, "bottles.hcl")); err != nil {
		return nil, err
	}
	many := b.command("bottlebuild validate, 1,000 bottles", dir, b.bottlebuild, "validate")
	none := b.command("bottlebuild validate, a file of nothing", empty, b.bottlebuild, "validate")
	runs, err := alternate(ctx, warm, b.pairs, many, none)
	if err != nil {
		return nil, err
	}
	var took []float64
	for i := range runs[0] {
		took = append(took, 1000*(runs[0][i].wall-runs[1][i].wall).Seconds())
	}
	ms := median(took)
	return []line{
		timing(many, runs[0]), timing(none, runs[1]),
		verdict("parse and compile", fmt.Sprintf("%.0f ms", ms), fmt.Sprintf("under %d ms", figure), ms < figure),
	}, nil
}
