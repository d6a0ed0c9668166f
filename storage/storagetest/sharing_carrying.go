package storagetest

import (
	"slices"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Whoever takes over goes on from where the one before has left it.
func carryComesFresh(t *testing.T, h *SharedHarness) {
	a := h.join(t, "crm")
	first := a.carries("crm")
	if first.Epoch == 0 || first.Subscription != "crm" {
		t.Fatalf("carried as %+v", first)
	}
	a.append(4, "crm")
	b := h.join(t, "crm")
	if err := a.commit("crm", first.Epoch, 2); err != nil {
		t.Fatal(err)
	}
	a.Offer(relay.Offer{})
	a.asked("crm")
	b.append(3, "crm")
	u := finishing("crm", first.Epoch, 3)
	u.Progress.Open = 1
	u.Put = []relay.Exception{{From: 3, To: 3, Kind: relay.Retry, Attempts: 1}}
	if err := a.Commit(t.Context(), []relay.Update{u}); err != nil {
		t.Fatal(err)
	}
	a.yield("crm")
	got := b.carries("crm")
	if got.Low != 3 || got.Head != 7 || got.Open != 1 || got.Epoch <= first.Epoch {
		t.Errorf("carried as %+v", got)
	}
	reader := Harness{Store: b.Shared}
	if x := reader.exception(t, "crm", 3); x == nil || x.Attempts != 1 {
		t.Errorf("the open exception is %+v", x)
	}
	if a.Carrier("crm") == "" {
		t.Error("nobody is said to carry it")
	}
}

func commitLeavesOutWhatOthersCarry(t *testing.T, h *SharedHarness) {
	a, b := h.join(t, "ours"), h.join(t, "theirs")
	mine, other := a.carries("ours").Epoch, b.carries("theirs").Epoch
	a.append(3, "ours", "theirs")
	for _, epoch := range []uint64{0, mine, other} {
		err := a.Commit(t.Context(), []relay.Update{finishing("theirs", epoch, 2), finishing("ours", mine, 2)})
		leftOut(t, err, "theirs")
	}
	if got := a.stands("ours"); got.Low != 2 {
		t.Errorf("the update beside it was not applied: %+v", got)
	}
	if got := a.stands("theirs"); got.Low != 0 || got.Delivered != 0 {
		t.Errorf("an update of what another one carries was applied: %+v", got)
	}
}

func commitOfNeverCarried(t *testing.T, h *SharedHarness) {
	a, b := h.join(t), h.join(t)
	a.append(1, "free")
	if err := b.commit("free", 0, 1); err != nil {
		t.Fatal(err)
	}
	if got := a.stands("free"); got.Low != 1 || got.Epoch != 0 {
		t.Errorf("%+v", got)
	}
}

func eraseLeavesOutWhatOthersCarry(t *testing.T, h *SharedHarness) {
	a, b := h.join(t, "ours"), h.join(t, "theirs")
	mine := a.carries("ours").Epoch
	b.carries("theirs")
	e := a.append(1, "ours", "theirs")[0]
	if err := a.Erase(t.Context(), e.Seq, []relay.Update{finishing("theirs", mine, 1), finishing("ours", mine, 1)}); err != nil {
		t.Fatal(err)
	}
	if ours, theirs := a.stands("ours"), a.stands("theirs"); ours.Low != 1 || theirs.Low != 0 {
		t.Errorf("ours is %+v, theirs %+v", ours, theirs)
	}
	if got, err := b.Event(t.Context(), e.Seq); err != nil || got.Erased.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

func handOverWaitsForYielded(t *testing.T, h *SharedHarness) {
	a := h.join(t, "crm")
	epoch := a.carries("crm").Epoch
	b := h.join(t, "crm")
	a.append(2, "crm")
	a.Offer(relay.Offer{})
	a.asked("crm")
	if err := a.commit("crm", epoch, 1); err != nil {
		t.Fatalf("what was in flight cannot be committed: %v", err)
	}
	leftOut(t, b.commit("crm", epoch, 2), "crm")
	leftOut(t, b.commit("crm", epoch+1, 2), "crm")
	a.yield("crm")
	b.carries("crm")
	leftOut(t, a.commit("crm", epoch, 2), "crm")
	if got := b.stands("crm"); got.Low != 1 {
		t.Errorf("%+v", got)
	}
}

// What was gathered before a subscription was lost and given back is of an earlier time.
func commitUnderEarlierEpoch(t *testing.T, h *SharedHarness) {
	a := h.join(t, "crm")
	first := a.carries("crm").Epoch
	a.append(3, "crm")
	b := h.join(t, "crm")
	a.Offer(relay.Offer{})
	a.yield("crm")
	second := b.carries("crm").Epoch
	if err := b.commit("crm", second, 2); err != nil {
		t.Fatal(err)
	}
	a.Offer(offer("crm"))
	b.Offer(relay.Offer{})
	b.yield("crm")
	third := a.carries("crm").Epoch
	if first >= second || second >= third {
		t.Errorf("the epochs are %d, %d, %d", first, second, third)
	}
	leftOut(t, a.commit("crm", first, 1), "crm")
	leftOut(t, a.commit("crm", second, 1), "crm")
	if err := a.commit("crm", third, 3); err != nil {
		t.Error(err)
	}
	if got := b.stands("crm"); got.Low != 3 {
		t.Errorf("%+v", got)
	}
}

// Nobody gives up what nobody else could have.
func offeredByNobodyStays(t *testing.T, h *SharedHarness) {
	a, b := h.join(t, "crm", "mail"), h.join(t)
	epoch := a.carries("mail", "crm").Epoch
	a.Offer(relay.Offer{})
	a.append(1, "crm")
	if err := a.commit("crm", epoch, 1); err != nil {
		t.Error(err)
	}
	b.Offer(offer("crm"))
	a.yield("crm") // and not the other one
	b.carries("crm")
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.yields["mail"] > 0 {
		t.Error("what nobody else offers was asked back")
	}
}

func offeredLateIsCarried(t *testing.T, h *SharedHarness) {
	a, b := h.join(t), h.join(t)
	a.append(2, "crm")
	b.Offer(offer("crm"))
	if got := b.carries("crm"); got.Head != 2 {
		t.Errorf("%+v", got)
	}
	a.until("its carrier is known", func() bool { return a.Carrier("crm") != "" })
}

func regionsDecide(t *testing.T, h *SharedHarness) {
	a, b := h.join(t), h.join(t)
	in := func(regions ...string) relay.Offer {
		return relay.Offer{Subscriptions: map[string]string{"crm": "eu", "any": ""}, Regions: regions}
	}
	a.Offer(in("us"))
	a.carries("any")
	if a.Carrier("crm") != "" {
		t.Error("somebody carries what needs addresses that nobody has")
	}
	b.Offer(in("us", "eu"))
	b.carries("crm")
	a.Offer(in("us", "eu"))
	b.Offer(in("us"))
	b.yield("crm")
	a.carries("crm")
}

func closeGivesAll(t *testing.T, h *SharedHarness) {
	all := numbered("s", 20)
	a := h.join(t, all...)
	a.carries(all...)
	b := h.join(t, all...)
	a.append(2, all...)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if got := b.carries(all...); got.Head != 2 {
		t.Errorf("%+v", got)
	}
}

func lapseGivesAll(t *testing.T, h *SharedHarness) {
	all := numbered("s", 20)
	a := h.join(t, all...)
	a.carries(all...)
	b := h.join(t, all...)
	a.append(3, all...)
	h.Freeze(t, a.Shared)
	h.Lapse(t, a.Shared)
	epoch := b.carries(all...).Epoch
	if err := b.commit(all[19], epoch, 2); err != nil {
		t.Fatal(err)
	}
	h.Thaw(t, a.Shared)
	a.until("the loss is known", func() bool {
		return !slices.ContainsFunc(all, func(name string) bool { return a.losses[name] == 0 })
	})
	a.knows(all[19], func(q relay.Progress) bool { return q.Low == 2 && q.Head == 3 })
	leftOut(t, a.commit(all[19], epoch-1, 3), all[19])
	if got := b.stands(all[19]); got.Low != 2 {
		t.Errorf("%+v", got)
	}
}
