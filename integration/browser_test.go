package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// tab is a page in Debian's Chromium. What the browser complains of fails the test.
type tab struct {
	t   testing.TB
	ctx context.Context

	mu         sync.Mutex
	complaints []string
	// expected are complaints that are none.
	expected []string
}

// openTab starts a browser, and skips the test where there is none.
func openTab(t testing.TB) *tab {
	t.Helper()
	need(t, "chromium", "the package of that name")
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute) // it has much to look at, on a machine that may be busy
	t.Cleanup(cancel)
	allocator, cancel := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox)...)
	t.Cleanup(cancel)
	b := &tab{t: t}
	b.ctx, cancel = chromedp.NewContext(allocator, chromedp.WithListener(b.listen))
	t.Cleanup(cancel)
	// Every violation of the policy is told to the console, too, but not always.
	b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: `addEventListener("securitypolicyviolation", (e) => console.error("policy: " + e.violatedDirective + " " + e.blockedURI))`,
		})
		return err
	}))
	t.Cleanup(b.calm)
	return b
}

// listen notes what the browser complains of.
func (b *tab) listen(ev any) {
	complaint := ""
	switch e := ev.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			complaint = fmt.Sprintf("console.%s:", e.Type)
			for _, a := range e.Args {
				complaint += " " + string(a.Value)
			}
		}
	case *runtime.EventExceptionThrown:
		complaint = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			complaint += " " + e.ExceptionDetails.Exception.Description
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning {
			complaint = fmt.Sprintf("log: %s %s", e.Entry.Text, e.Entry.URL)
		}
	case *page.EventJavascriptDialogOpening:
		complaint = "a dialog was opened: " + e.Message
	}
	if complaint == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, complaint)
}

// calm fails the test with what the browser complained of until now.
func (b *tab) calm() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		if !slices.ContainsFunc(b.expected, func(e string) bool { return strings.Contains(c, e) }) {
			b.t.Errorf("the browser complains: %s", c)
		}
	}
	b.complaints = nil
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// look sets the colours that the reader prefers, and the width of the window.
func (b *tab) look(scheme string, width int64) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}), chromedp.EmulateViewport(width, 900))
}

// noScripts turns JavaScript off.
func (b *tab) noScripts() {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}))
}

func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
}

func (b *tab) click(selector string) {
	b.t.Helper()
	b.gesture(chromedp.Click(chromedp.CSS(selector)))
}

func (b *tab) fill(selector, text string) {
	b.t.Helper()
	b.gesture(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// gesture does what needs a page: in the one that comes, where another one went away in
// between. Until the browser knows the element, nothing is clicked or typed.
func (b *tab) gesture(step chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	var err error
	eventually(b.t, func() bool {
		err = chromedp.Do(b.ctx, step)
		refused, ok := errors.AsType[*cdproto.Error](err)
		return !ok || refused.Code != serverError
	}, func() string { return err.Error() })
	if err != nil {
		b.t.Fatal(err)
	}
}

// serverError is what the browser answers about an element of a page that is gone (JSON-RPC 2.0, section 5.1).
const serverError = -32000

// evaluate runs a script as the developer's tools do: no policy applies to it.
func evaluate[T any](b *tab, script string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.EvaluateAsDevTools[T](script))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return v
}

// text returns what the page says.
func (b *tab) text() string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.EvaluateAsDevTools[string]("document.body ? document.body.innerText : ''"))
	if err != nil && b.ctx.Err() != nil {
		b.t.Fatal(err)
	}
	return strings.Join(strings.Fields(text), " ") // nothing while another page is on its way
}

// wait until the page says all of it.
func (b *tab) wait(texts ...string) {
	b.t.Helper()
	eventually(b.t, func() bool {
		page := b.text()
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(page, text) })
	}, func() string { return fmt.Sprintf("the page does not say %q:\n%s", texts, b.text()) })
}

// finding is what axe found.
type finding struct {
	ID, Help string
	Nodes    []struct {
		HTML           string
		FailureSummary string
	}
}

// accessible fails the test with what axe finds.
func (b *tab) accessible(what string) {
	b.t.Helper()
	if !evaluate[bool](b, "'axe' in window") {
		source, err := os.ReadFile("testdata/axe/axe.min.js")
		if err != nil {
			b.t.Fatal(err)
		}
		evaluate[bool](b, string(source)+"; true")
	}
	raw, err := chromedp.Run(b.ctx, chromedp.EvaluateAsDevTools[string](
		`axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify(r.violations))`, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatal(err)
	}
	var findings []finding
	if err := json.Unmarshal([]byte(raw), &findings); err != nil {
		b.t.Fatal(err)
	}
	for _, f := range findings {
		for _, n := range f.Nodes {
			b.t.Errorf("%s: %s (%s): %.200s\n%s", what, f.Help, f.ID, n.HTML, n.FailureSummary)
		}
	}
}

// keys types on the keyboard, wherever the focus is.
func (b *tab) keys(text string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(text))
}

// choose takes a value of a list.
func (b *tab) choose(selector, value string) {
	b.t.Helper()
	b.gesture(chromedp.SetValue(chromedp.CSS(selector), value))
}

// search returns what the page's URL asks for.
func (b *tab) search() url.Values {
	b.t.Helper()
	var at string
	b.gesture(func(ctx context.Context, target *chromedp.Target) (none chromedp.Void, err error) {
		at, err = chromedp.Location()(ctx, target)
		return none, err
	})
	u, err := url.Parse(at)
	if err != nil {
		b.t.Fatal(err)
	}
	return u.Query()
}
