package relay

import (
	"net/netip"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/egresslist"
)

// An attempt pays nothing for changes that are not planned, and no allocation for those
// that are.
func TestEgressChangesAllocateNothing(t *testing.T) {
	now := time.Now()
	none := newEgressChanges(egresslist.Declare(nil), "eu")
	if none != nil {
		t.Errorf("%v", none)
	}
	prefix := netip.MustParsePrefix
	d := egresslist.Declare([]egresslist.Region{{Name: "eu", Entries: []egresslist.Entry{
		{Prefix: prefix("192.0.2.1/32"), From: now.Add(-time.Hour)},
		{Prefix: prefix("192.0.2.2/32"), Until: now.Add(time.Hour)},
		{Prefix: prefix("192.0.2.3/32"), From: now.Add(2 * time.Hour)},
	}}})
	some := newEgressChanges(d, "eu")
	if got := some.header(now); len(some) != 3 || len(got) != 1 || got[0] != now.Add(time.Hour).UTC().Format(time.RFC3339Nano) {
		t.Errorf("%v of %v", got, some)
	}
	for _, changes := range []egressChanges{none, some} {
		if n := testing.AllocsPerRun(100, func() { changes.header(now) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
