// Package browser drives a headless Chromium over Doorward's pages as a person would: it opens a page, reads, fills in
// forms and clicks. It also checks pages with axe, lists the requests of a page, and shows pages small, dark or without
// JavaScript. Each [Tab] has its own cookies, cache and storage.
//
// A method that cannot do its job fails the test.
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

// patience is the longest time that a page may need to show what a test waits for.
const patience = 20 * time.Second

// shared is one Chromium for all tests of a process. It exits with the process.
var shared = sync.OnceValues(func() (context.Context, error) {
	path, err := setup.Chromium()
	if err != nil {
		return nil, err
	}
	profile, err := os.MkdirTemp("", "doorward-chromium-")
	if err != nil {
		return nil, err
	}
	// The target of the lock, a symbolic link, is host-pid.
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
		flags = append(flags, chromedp.NoSandbox) // Chromium's sandbox does not work as root
	}
	flags = append(flags, chromedp.Flag("lang", "en"), chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("disable-features", "Translate,MediaRouter,OptimizationHints"))
	allocator, _ := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, _ := chromedp.NewContext(allocator)
	return ctx, chromedp.Do(ctx) // starts the browser
})

// New opens a tab with its own cookies, cache and storage, 1280 by 800 pixels, in light mode. The tab closes when the
// test ends. New skips the test under -short, and if no Chromium is installed, unless DOORWARD_TEST_FULL=1.
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
