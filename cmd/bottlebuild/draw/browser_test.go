package draw

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser opens the page of g in headless Chromium; what the page complains of,
// and what it loads, fails the test.
func browser(t *testing.T, g *Graph) context.Context {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("BOTTLEBUILD_REQUIRE") == "1" {
			t.Fatal("chromium is not installed")
		}
		t.Skip("chromium is not installed")
	}
	file := filepath.Join(t.TempDir(), "graph.html")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(f, g, "html"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1200, 800),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)

	var mu sync.Mutex
	var faults []string
	fault := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		faults = append(faults, fmt.Sprintf(format, args...))
	}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			fault("the script failed: %s", e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			fault("the console has a message of type %s", e.Type)
		case *network.EventRequestWillBeSent:
			if !strings.HasSuffix(e.Request.URL, "/graph.html") {
				fault("the page loads %s", e.Request.URL)
			}
		}
	})
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, f := range faults {
			t.Error(f)
		}
	})
	do(t, ctx, network.Enable(), chromedp.Navigate("file://"+file), chromedp.WaitVisible("#sheet", chromedp.ByQuery))
	return ctx
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// ask returns the value of a script's expression.
func ask[V any](t *testing.T, ctx context.Context, script string) V {
	t.Helper()
	var v V
	do(t, ctx, chromedp.Evaluate(script, &v))
	return v
}

func TestPageInBrowser(t *testing.T) {
	g := sample(12)
	ctx := browser(t, g)

	if n := ask[int](t, ctx, `document.querySelectorAll(".node").length`); n != len(g.Nodes) {
		t.Errorf("%d nodes are shown, not %d", n, len(g.Nodes))
	}
	if n := ask[int](t, ctx, `document.querySelectorAll(".edge").length`); n != len(g.Edges) {
		t.Errorf("%d edges are shown, not %d", n, len(g.Edges))
	}
	// Each text is inside its box, no two boxes overlap, all are in sight.
	overflow := ask[[]string](t, ctx, `boxes.flatMap(b => {
		const r = b.querySelector("rect").getBoundingClientRect();
		return [...b.querySelectorAll("text")].filter(x => {
			const q = x.getBoundingClientRect();
			return q.width === 0 || q.left < r.left || q.right > r.right + 1 || q.top < r.top - 1 || q.bottom > r.bottom + 1;
		}).map(x => x.textContent);
	})`)
	if len(overflow) > 0 {
		t.Errorf("texts stick out of their boxes: %q", overflow)
	}
	overlaps := ask[int](t, ctx, `(() => {
		const r = boxes.map(b => b.querySelector("rect").getBoundingClientRect());
		let n = 0;
		for (let i = 0; i < r.length; i++) for (let k = 0; k < i; k++)
			if (r[i].left < r[k].right && r[k].left < r[i].right && r[i].top < r[k].bottom && r[k].top < r[i].bottom) n++;
		return n;
	})()`)
	if overlaps > 0 {
		t.Errorf("%d pairs of boxes overlap", overlaps)
	}
	outside := ask[int](t, ctx, `(() => {
		const s = sheet.getBoundingClientRect();
		return boxes.filter(b => { const r = b.getBoundingClientRect(); return r.left < s.left - 1 || r.right > s.right + 1 || r.top < s.top - 1 || r.bottom > s.bottom + 1; }).length;
	})()`)
	if outside > 0 {
		t.Errorf("%d boxes are out of sight at first", outside)
	}

	// Decisions have colours, and a legend.
	for _, d := range []string{"run", "maybe", "hit"} {
		script := fmt.Sprintf(`new Set(boxes.filter((_, i) => nodes[i].decision === %q).map(b => getComputedStyle(b.querySelector("rect")).fill)).size`, d)
		if n := ask[int](t, ctx, script); n != 1 {
			t.Errorf("nodes of decision %s have %d colours", d, n)
		}
	}
	if n := ask[int](t, ctx, `new Set(boxes.map(b => getComputedStyle(b.querySelector("rect")).fill)).size`); n != 3 {
		t.Errorf("three decisions have %d colours", n)
	}

	// Search.
	do(t, ctx, chromedp.KeyEvent("/"))
	if !ask[bool](t, ctx, `document.activeElement === search`) {
		t.Error("the key / does not lead to the search")
	}
	do(t, ctx, chromedp.Evaluate(`search.select()`, nil), chromedp.SendKeys("#search", "agent-7 machine", chromedp.ByQuery))
	if s := ask[string](t, ctx, `found.textContent`); s != "1 found" {
		t.Errorf("a search for one node says %q", s)
	}
	if n := ask[int](t, ctx, `document.querySelectorAll(".node:not(.dim)").length`); n != 1 {
		t.Errorf("a search leaves %d nodes bright", n)
	}
	do(t, ctx, chromedp.KeyEvent("\r"))
	if s := ask[string](t, ctx, `details.querySelector("h2").textContent`); s != `bottle.agent["agent-7"].machine` {
		t.Errorf("Enter chooses %q", s)
	}
	do(t, ctx, chromedp.KeyEvent("\x1b"))
	if !ask[bool](t, ctx, `details.hidden && search.value === ""`) {
		t.Error("Escape does not clear the search")
	}

	// A click tells all about a node, and links lead on.
	click := func(i int) {
		at := ask[[]float64](t, ctx, fmt.Sprintf(`(() => { const r = boxes[%d].getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; })()`, i))
		do(t, ctx, chromedp.MouseClickXY(at[0], at[1]))
	}
	do(t, ctx, chromedp.Click("#fit", chromedp.ByQuery)) // the search has moved the drawing
	click(1)
	said := ask[string](t, ctx, `details.innerText`)
	for _, want := range []string{g.Nodes[1].Address, "maybe", g.Nodes[1].Reasons[0], g.Nodes[1].Pos, "sha256:", "Depends on", "image.base", "Needed by"} {
		if !strings.Contains(said, want) {
			t.Errorf("the details of %s lack %q:\n%s", g.Nodes[1].Address, want, said)
		}
	}
	do(t, ctx, chromedp.Click(`//aside//a[text()="image.base"]`, chromedp.BySearch))
	do(t, ctx, chromedp.Poll(`details.querySelector("h2").textContent === "image.base"`, nil))
	do(t, ctx, chromedp.NavigateBack(), chromedp.Poll(fmt.Sprintf(`details.querySelector("h2").textContent === %q`, g.Nodes[1].Address), nil))

	// Moving and zooming.
	state := func() []float64 { return ask[[]float64](t, ctx, `[scale, x, y]`) }
	do(t, ctx, chromedp.Click("#fit", chromedp.ByQuery))
	before := state()
	mouse := func(kind input.MouseType, x, y float64) chromedp.Action {
		return chromedp.MouseEvent(kind, x, y, chromedp.ButtonLeft)
	}
	do(t, ctx, mouse(input.MousePressed, 40, 500), mouse(input.MouseMoved, 100, 460), mouse(input.MouseReleased, 100, 460))
	if after := state(); after[1]-before[1] != 60 || after[2]-before[2] != -40 || after[0] != before[0] {
		t.Errorf("dragging by (60, -40) took %v to %v", before, after)
	}
	before = state()
	do(t, ctx, chromedp.ActionFunc(func(ctx context.Context) error {
		return input.DispatchMouseEvent(input.MouseWheel, 400, 400).WithDeltaX(0).WithDeltaY(-200).Do(ctx)
	}), chromedp.Poll(fmt.Sprintf(`scale > %v`, before[0]), nil))

	// Decisions can be dimmed.
	do(t, ctx, chromedp.Click(`.filter[data-decision="hit"]`, chromedp.ByQuery), chromedp.KeyEvent("\x1b"))
	if n := ask[int](t, ctx, `boxes.filter((b, i) => (nodes[i].decision === "hit") !== b.classList.contains("dim")).length`); n != 0 {
		t.Errorf("dimming hits leaves %d nodes wrong", n)
	}
}

// What stands in a bottle file is text on the page, whatever it looks like.
func TestPageIsNotInjected(t *testing.T) {
	evil := `bottle.x["</script><script>window.injected=1</script><img src=x onerror=window.injected=1>"].pack`
	g := &Graph{Title: evil, Nodes: []Node{
		{Address: "image.a", Kind: "image", Decision: "hit"},
		{Address: evil, Kind: "pack", Decision: "run", Reasons: []string{evil, "\x00\x1b[31m\xff"}},
	}, Edges: []Edge{{"image.a", evil}}}
	ctx := browser(t, g)
	do(t, ctx, chromedp.SendKeys("#search", "script", chromedp.ByQuery), chromedp.KeyEvent("\r"))
	if s := ask[string](t, ctx, `details.querySelector("h2").textContent`); s != evil {
		t.Errorf("the address is shown as %q", s)
	}
	if ask[bool](t, ctx, `"injected" in window`) {
		t.Error("a script in an address ran")
	}
}
