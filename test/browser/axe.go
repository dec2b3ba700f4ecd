package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"doorward/test/setup"
)

// Violation is an axe rule that the page violates.
type Violation struct {
	ID     string `json:"id"`
	Impact string `json:"impact"` // minor, moderate, serious, critical
	Help   string `json:"help"`
	Nodes  []struct {
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// String names the rule and each element that breaks it.
func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s): %s", v.ID, v.Impact, v.Help)
	for _, n := range v.Nodes {
		fmt.Fprintf(&b, "\n  %s\n    %s", n.HTML, strings.ReplaceAll(n.Summary, "\n", "\n    "))
	}
	return b.String()
}

var axeSource = sync.OnceValues(func() (string, error) {
	dir, err := setup.NodePackage("axe-core")
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(dir, "axe.min.js"))
	return string(text), err
})

// Axe checks the page as it is now: with the named rules, or else with all axe rules except the experimental ones, plus
// the target size rule of WCAG 2.2. It runs in an isolated JavaScript world, so it also works where pages may not run
// scripts.
func (t *Tab) Axe(rules ...string) []Violation {
	t.tb.Helper()
	options := map[string]any{"resultTypes": []string{"violations"}}
	if len(rules) > 0 {
		options["runOnly"] = map[string]any{"type": "rule", "values": rules}
	} else {
		options["rules"] = map[string]any{"target-size": map[string]any{"enabled": true}}
	}
	text, err := json.Marshal(options)
	if err != nil {
		t.tb.Fatal(err)
	}
	source, err := axeSource()
	setup.Need(t.tb, err)
	if t.noScript {
		t.JavaScript(true)
		defer t.JavaScript(false)
	}
	return run(t, func(ctx context.Context, target *chromedp.Target) ([]Violation, error) {
		tree, err := cdp.Call(ctx, target, page.GetFrameTree, cdp.Empty{})
		if err != nil {
			return nil, err
		}
		world, err := cdp.Call(ctx, target, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{
			FrameID: tree.FrameTree.Frame.ID, WorldName: "axe",
		})
		if err != nil {
			return nil, err
		}
		inWorld := func(p *runtime.EvaluateParams) { p.ContextID = world.ExecutionContextID }
		// A document has one world of a name, so axe is still there after its first check of a page.
		loaded, err := chromedp.Evaluate[bool](`typeof axe !== "undefined"`, inWorld)(ctx, target)
		if err != nil {
			return nil, err
		}
		if !loaded {
			if _, err := chromedp.Evaluate[chromedp.Void](source, inWorld)(ctx, target); err != nil {
				return nil, err
			}
		}
		return chromedp.Evaluate[[]Violation](
			`axe.run(document, `+string(text)+`).then(r => r.violations)`,
			inWorld, chromedp.EvalAwaitPromise)(ctx, target)
	})
}
