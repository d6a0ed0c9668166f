package storagetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// A commit that was under way when its member was frozen, and another one took over, changes
// nothing whenever it comes.
func frozenCommitChangesNothing(t *testing.T, h *SharedHarness) {
	a := h.join(t, "crm")
	epoch := a.carries("crm").Epoch
	b := h.join(t, "crm")
	b.append(3, "crm")
	h.Freeze(t, a.Shared)
	ended := make(chan error, 1)
	go func() { ended <- a.commit("crm", epoch, 3) }()
	h.Lapse(t, a.Shared)
	after := b.carries("crm").Epoch
	if err := b.commit("crm", after, 1); err != nil {
		t.Fatal(err)
	}
	h.Thaw(t, a.Shared)
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the commit of a frozen member was taken")
		}
	case <-time.After(sharingPatience):
		t.Fatal("the commit does not end")
	}
	if got := b.stands("crm"); got.Low != 1 || got.Delivered != 1 {
		t.Errorf("%+v", got)
	}
}

// Whatever a frozen member was about to do, the others go on.
func frozenStopsNobody(t *testing.T, h *SharedHarness) {
	a, b := h.join(t, "ours"), h.join(t, "theirs")
	ours := a.carries("ours").Epoch
	theirs := b.carries("theirs").Epoch
	a.append(1, "ours")
	h.Freeze(t, a.Shared)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = a.Append(ctx, one(event("a", "{}"), "ours"), nil)
		_ = a.Commit(ctx, []relay.Update{finishing("ours", ours, 1)})
	}()
	for range 5 {
		b.append(1, "theirs", "ours")
	}
	if err := b.commit("theirs", theirs, 5); err != nil {
		t.Error(err)
	}
	cancel()
	h.Thaw(t, a.Shared)
	<-ended
}

// A pause that is shorter than the lease costs nothing.
func thawedInTimeGoesOn(t *testing.T, h *SharedHarness) {
	a := h.join(t, "crm")
	epoch := a.carries("crm").Epoch
	if until := a.CarriedUntil(); !until.After(time.Now()) {
		t.Fatalf("the lease of a member ends at %v", until)
	}
	b := h.join(t, "crm")
	b.append(1, "crm")
	h.Freeze(t, a.Shared)
	h.Thaw(t, a.Shared)
	a.until("the lease goes on", func() bool { return a.CarriedUntil().After(time.Now()) })
	if err := a.commit("crm", epoch, 1); err != nil {
		t.Error(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.losses["crm"] > 0 {
		t.Error("it was lost")
	}
}

func askMemberAndCarrier(t *testing.T, h *SharedHarness) {
	a, b := h.join(t, "crm"), h.join(t, "mail")
	a.carries("crm")
	b.carries("mail")
	for _, p := range []*peer{a, b} {
		p.mu.Lock()
		p.answer = func(request []byte) []byte { return append([]byte(ids(t, p)[0]+" heard "), request...) }
		p.mu.Unlock()
	}
	idA, idB := ids(t, a)[0], ids(t, b)[0]
	for _, test := range []struct {
		asks *peer
		to   relay.Addressee
		want string
	}{
		{a, relay.Addressee{Member: idB}, idB},
		{b, relay.Addressee{Member: idA}, idA},
		{a, relay.Addressee{Subscription: "mail"}, idB},
		{b, relay.Addressee{Subscription: "crm"}, idA},
		{a, relay.Addressee{Subscription: "crm"}, idA},
	} {
		got, err := test.asks.Ask(t.Context(), test.to, []byte(`{"do":"it"}`))
		if want := test.want + ` heard {"do":"it"}`; err != nil || string(got) != want {
			t.Errorf("asking %+v: %q, %v; want %q", test.to, got, err, want)
		}
	}
}

func askNobody(t *testing.T, h *SharedHarness) {
	a, b := h.join(t), h.join(t)
	gone := ids(t, b)[0]
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, to := range []relay.Addressee{{Subscription: "crm"}, {Member: gone}, {Member: "nobody-1-x"}} {
		if got, err := a.Ask(t.Context(), to, []byte("{}")); !errors.Is(err, relay.ErrNoAnswer) {
			t.Errorf("asking %+v: %q, %v", to, got, err)
		}
	}
}

func askTheFrozen(t *testing.T, h *SharedHarness) {
	a, b := h.join(t), h.join(t, "crm")
	b.carries("crm")
	b.mu.Lock()
	b.answer = func([]byte) []byte { return []byte("late") }
	b.mu.Unlock()
	h.Freeze(t, b.Shared)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, err := a.Ask(ctx, relay.Addressee{Subscription: "crm"}, []byte("{}")); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, relay.ErrNoAnswer) {
		t.Errorf("the frozen one answers %q, %v", got, err)
	}
	h.Thaw(t, b.Shared)
	if got, err := a.Ask(t.Context(), relay.Addressee{Subscription: "crm"}, []byte("{}")); err != nil || string(got) != "late" {
		t.Errorf("awake again it answers %q, %v", got, err)
	}
}

// Who asks about a subscription may come to carry it meanwhile: then the answer is its own,
// also where nobody else is left.
func askWhatOneTakesOver(t *testing.T, h *SharedHarness) {
	a := h.join(t, "crm")
	a.carries("crm")
	b := h.join(t, "crm")
	b.mu.Lock()
	b.answer = func([]byte) []byte { return []byte("mine") }
	b.mu.Unlock()
	h.Freeze(t, a.Shared)
	defer h.Thaw(t, a.Shared)
	type said struct {
		answer []byte
		err    error
	}
	answered := make(chan said, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), sharingPatience)
		defer cancel()
		answer, err := b.Ask(ctx, relay.Addressee{Subscription: "crm"}, []byte("q"))
		answered <- said{answer, err}
	}()
	h.Lapse(t, a.Shared)
	b.carries("crm")
	if s := <-answered; s.err != nil || string(s.answer) != "mine" {
		t.Errorf("%q, %v", s.answer, s.err)
	}
}

func membersAreListed(t *testing.T, h *SharedHarness) {
	a, b := h.join(t, "crm"), h.join(t)
	a.carries("crm")
	b.Offer(relay.Offer{Regions: []string{"eu", "us"}})
	b.until("the offer is known", func() bool {
		all, err := a.Members(t.Context())
		return err == nil && len(all) == 2 && len(all[1].Regions) == 2
	})
	all, err := a.Members(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	if all[0].ID == all[1].ID || all[0].ID == "" || all[0].Carries != 1 || len(all[0].Shards) != 1 || all[1].Carries != 0 || len(all[1].Shards) != 0 {
		t.Errorf("%+v", all)
	}
	for _, m := range all {
		if since := time.Since(m.Seen); since < -time.Minute || since > time.Minute {
			t.Errorf("%s was seen at %v", m.ID, m.Seen)
		}
	}
	if got := ids(t, b); got[0] != all[1].ID || got[1] != all[0].ID {
		t.Errorf("the other one lists %v", got)
	}
	b.until("the carrier is known", func() bool { return b.Carrier("crm") == all[0].ID })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, a); len(got) != 1 {
		t.Errorf("one that was closed is still listed: %v", got)
	}
}

// ids returns those of the members, that of the peer first.
func ids(t *testing.T, p *peer) (all []string) {
	t.Helper()
	members, err := p.Members(t.Context())
	if err != nil {
		t.Error(err)
		return []string{"", ""}
	}
	for _, m := range members {
		all = append(all, m.ID)
	}
	return all
}
