package integration

import (
	"strings"
	"testing"
)

// Single keys lead through lists, unless somebody types, or has switched them off.
func TestConsoleKeys(t *testing.T) {
	t.Parallel()
	_, url, _ := story(t)
	b := openTab(t)
	b.look("light", 1280)
	// row is the number of the row that has the focus, from 1.
	row := func() int {
		return evaluate[int](b, `[...document.querySelectorAll("table.rows tbody tr")].indexOf(document.activeElement.closest("tr")) + 1`)
	}
	press := func(keys string, want int) {
		t.Helper()
		b.keys(keys)
		if got := row(); got != want {
			t.Errorf("after %q the focus is in row %d, want %d", keys, got, want)
		}
	}
	focused := func() string { return evaluate[string](b, `document.activeElement.name ?? ""`) }
	shown := func() bool { return evaluate[bool](b, `document.getElementById("keys").open`) }

	b.open(url + "deliveries?type=order.sent")
	press("j", 1)
	press("j", 2)
	press("jj", 4)
	press("k", 3)
	press("kkkkk", 1)
	if style := evaluate[string](b, `getComputedStyle(document.activeElement).outlineStyle`); style == "none" {
		t.Error("nobody sees which row has the focus")
	}
	b.accessible("a row with the focus")

	b.keys("/")
	if got := focused(); got != "state" && got != "subscription" {
		t.Errorf("/ leads to %q", got)
	}
	b.click(`input[name=type]`)
	b.keys("j?/k")
	if got := evaluate[string](b, `document.querySelector("input[name=type]").value`); !strings.Contains(got, "j?/k") || row() != 0 || shown() {
		t.Errorf("typing in a field did something else: %q", got)
	}

	b.open(url + "deliveries?type=order.sent")
	b.keys("?")
	if !shown() {
		t.Fatal("? does not show the keys")
	}
	b.accessible("the keys")
	press("j", 0) // not behind the dialog's back
	b.keys("\x1b")
	if shown() {
		t.Error("Escape does not close it")
	}
	press("j", 1)
	b.keys("\r")
	b.wait("order.sent to", "Attempts")

	// Off is off, on the next page, too.
	b.click("#keys-open")
	b.click("#keys-single")
	b.click("#keys form button")
	b.open(url + "subscriptions")
	press("j", 0)
	b.keys("?")
	if shown() {
		t.Error("keys that are switched off do something")
	}
	b.click("#keys-open")
	b.click("#keys-single")
	b.click("#keys form button")
	b.open(url + "events")
	press("jj", 2)
	b.keys("\r")
	b.wait("Why, or why not")
}
