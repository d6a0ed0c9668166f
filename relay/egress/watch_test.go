package egress

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// watching starts a watch and returns what it told so far.
func watching(t *testing.T, ctx context.Context, w *Watch) func() []string {
	t.Helper()
	told := make(chan string, 100)
	w.Changed = func(r *Region, s AddressStatus) {
		told <- fmt.Sprintf("%s %v up=%v active=%v", r.Name, s.Address, s.Up, s.Active)
	}
	go w.Run(ctx)
	return func() (all []string) {
		for {
			select {
			case s := <-told:
				all = append(all, s)
			default:
				return all
			}
		}
	}
}

// By the clock, without anybody doing anything; and at the first look what is missing.
func TestTheWatchTellsWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		change := time.Now().Add(10*time.Hour + 700*time.Millisecond)
		r, err := NewRegion("eu", []Address{
			{Addr: netip.MustParseAddr("127.0.0.2"), Until: change},
			{Addr: netip.MustParseAddr("127.0.0.3"), From: change},
			{Addr: netip.MustParseAddr(goneA)},
			{Public: netip.MustParsePrefix("2001:db8::/64")},
		})
		if err != nil {
			t.Fatal(err)
		}
		told := watching(t, ctx, &Watch{Regions: []*Region{r}, events: make(chan struct{})})
		want := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if got := told(); !slices.Equal(got, want) {
				t.Errorf("it told %q, want %q", got, want)
			}
		}
		want("eu " + goneA + " up=false active=true")
		time.Sleep(time.Until(change) - time.Nanosecond)
		want()
		time.Sleep(time.Nanosecond)
		want("eu 127.0.0.2 up=true active=false", "eu 127.0.0.3 up=true active=true")
		time.Sleep(time.Hour)
		want()
		if r.usable(sources{v4: &r.Addresses[2]}, time.Now()) {
			t.Error("an address that is gone is usable")
		}
		cancel()
		synctest.Wait()
		if !r.usable(sources{v4: &r.Addresses[2]}, time.Now()) {
			t.Error("what a watch has found outlives it")
		}
	})
}
