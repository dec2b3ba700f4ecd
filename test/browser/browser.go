// Package browser drives a headless Chromium over our pages as a person would: it goes to a page, reads, fills in and
// clicks. Each [Tab] has cookies, cache and storage of its own. Besides, it judges a page by axe, keeps a list of all
// that the page loaded, and shows the page small, dark or without JavaScript.
//
// A method that can not do what it says fails the test.
package browser

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"doorward/test/setup"
)

// patience is how long a page may take to show what a test waits for.
const patience = 20 * time.Second

// shared is one Chromium for all tests of a process. It ends with the process.
var shared = sync.OnceValues(func() (context.Context, error) {
	path, err := setup.Chromium()
	if err != nil {
		return nil, err
	}
	profile, err := os.MkdirTemp("", "doorward-chromium-")
	if err != nil {
		return nil, err
	}
	// The lock is a link to host-pid.
	if _, err := setup.Sweep(profile, `readlink "$1/SingletonLock" | sed 's/.*-//'`); err != nil {
		return nil, err
	}
	flags := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck, chromedp.WindowSize(1280, 800),
	}
	for _, flag := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage",
		"disable-extensions", "disable-breakpad", "disable-domain-reliability", "disable-client-side-phishing-detection",
		"no-pings", "hide-scrollbars", "mute-audio",
	} {
		flags = append(flags, chromedp.Flag(flag, true))
	}
	if os.Geteuid() == 0 {
		flags = append(flags, chromedp.NoSandbox) // Chromium's sandbox refuses to work for root
	}
	flags = append(flags, chromedp.Flag("lang", "en"), chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("disable-features", "Translate,MediaRouter,OptimizationHints"))
	allocator, _ := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, _ := chromedp.NewContext(allocator)
	return ctx, chromedp.Do(ctx) // starts it
})

// New opens a tab with cookies, cache and storage of its own, 1280 by 800 pixels, light. It closes with the test. The
// test is skipped under -short, and where no Chromium is installed unless DOORWARD_TEST_FULL=1.
func New(tb testing.TB) *Tab {
	tb.Helper()
	setup.Long(tb)
	_, err := setup.Chromium()
	setup.Need(tb, err)
	browser, err := shared()
	if err != nil {
		tb.Fatalf("start Chromium: %v", err)
	}
	t := &Tab{tb: tb, exchanges: map[string]int{}}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(t.listen))
	tb.Cleanup(cancel)
	// Not through run: the first action's context is the tab's life.
	if err := chromedp.Do(ctx, chromedp.Func(enableNetwork)); err != nil {
		tb.Fatalf("open a tab: %v", err)
	}
	t.ctx = ctx
	t.Viewport(1280, 800)
	return t
}
