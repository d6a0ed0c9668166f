package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// SharedHarness is a content that several relays use, to be tested.
type SharedHarness struct {
	// Open opens a store for one more relay. The content is new and empty at first.
	Open func(t *testing.T) relay.Shared
	// Freeze keeps everything that a member does from the content, as if its process was
	// stopped: calls of its store may wait or fail, its engine is told nothing, and its lease
	// is not renewed. Thaw ends that.
	Freeze, Thaw func(t *testing.T, s relay.Shared)
	// Lapse ends the lease of a frozen member, or waits until it has ended.
	Lapse func(t *testing.T, s relay.Shared)
}

// sharingPatience bounds how long the tests wait for what is to happen.
const sharingPatience = 40 * time.Second

// RunShared tests that what open makes keeps the contract of [relay.Shared]. What open needs
// to clean up it leaves to t.Cleanup, where Close of a closed store must do no harm.
func RunShared(t *testing.T, open func(t *testing.T) SharedHarness) {
	tests := []struct {
		name string
		test func(t *testing.T, h *SharedHarness)
	}{
		{"AppendsOfAllInOneOrder", appendsOfAllInOneOrder},
		{"KeysHoldOverMembers", keysHoldOverMembers},
		{"NotesAreShared", notesAreShared},
		{"OthersLearnOfAppends", othersLearnOfAppends},
		{"OthersLearnOfCommits", othersLearnOfCommits},
		{"JoinMissesNothing", joinMissesNothing},
		{"CarryComesFresh", carryComesFresh},
		{"CommitLeavesOutWhatOthersCarry", commitLeavesOutWhatOthersCarry},
		{"CommitOfNeverCarried", commitOfNeverCarried},
		{"EraseLeavesOutWhatOthersCarry", eraseLeavesOutWhatOthersCarry},
		{"HandOverWaitsForYielded", handOverWaitsForYielded},
		{"CommitUnderEarlierEpoch", commitUnderEarlierEpoch},
		{"OfferedByNobodyStays", offeredByNobodyStays},
		{"OfferedLateIsCarried", offeredLateIsCarried},
		{"RegionsDecide", regionsDecide},
		{"CloseGivesAll", closeGivesAll},
		{"LapseGivesAll", lapseGivesAll},
		{"FrozenCommitChangesNothing", frozenCommitChangesNothing},
		{"FrozenStopsNobody", frozenStopsNobody},
		{"ThawedInTimeGoesOn", thawedInTimeGoesOn},
		{"AskMemberAndCarrier", askMemberAndCarrier},
		{"AskNobody", askNobody},
		{"AskTheFrozen", askTheFrozen},
		{"AskWhatOneTakesOver", askWhatOneTakesOver},
		{"MembersAreListed", membersAreListed},
		{"OneMemberTrims", oneMemberTrims},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := open(t)
			test.test(t, &h)
		})
	}
}

// peer is a member whose engine does nothing but note what it is told.
type peer struct {
	relay.Shared
	t *testing.T

	mu sync.Mutex
	// carried are the subscriptions of Carry, with what came with them; yields and losses
	// count how often one was asked back, or lost.
	carried        map[string]relay.Progress
	yields, losses map[string]int
	learned        map[string]relay.Progress
	answer         func(request []byte) []byte
}

// join makes a new store a member that offers subscriptions without a region.
func (h *SharedHarness) join(t *testing.T, subscriptions ...string) *peer {
	t.Helper()
	p := h.open(t)
	p.join()
	if len(subscriptions) > 0 {
		p.Offer(offer(subscriptions...))
	}
	return p
}

func (h *SharedHarness) open(t *testing.T) *peer {
	t.Helper()
	p := &peer{
		Shared: h.Open(t), t: t,
		carried: make(map[string]relay.Progress), learned: make(map[string]relay.Progress),
		yields: make(map[string]int), losses: make(map[string]int),
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// join does what an engine does first.
func (p *peer) join() {
	p.t.Helper()
	for q, err := range p.Progress(p.t.Context()) {
		if err != nil {
			p.t.Fatal(err)
		}
		p.learned[q.Subscription] = q
	}
	if err := p.Join(p.t.Context(), p); err != nil {
		p.t.Fatal(err)
	}
}

func offer(subscriptions ...string) relay.Offer {
	o := relay.Offer{Subscriptions: make(map[string]string)}
	for _, name := range subscriptions {
		o.Subscriptions[name] = ""
	}
	return o
}

// Carry implements [relay.Member].
func (p *peer) Carry(all []relay.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range all {
		p.carried[q.Subscription] = q
	}
}

// Yield implements [relay.Member].
func (p *peer) Yield(names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		p.yields[name]++
	}
}

// Lost implements [relay.Member].
func (p *peer) Lost(names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		p.losses[name]++
		delete(p.carried, name)
	}
	if time.Now().Before(p.CarriedUntil()) {
		p.t.Errorf("the lease goes on until %v before it is told what was lost: %v", p.CarriedUntil(), names)
	}
}

// Learn implements [relay.Member].
func (p *peer) Learn(all []relay.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range all {
		p.learned[q.Subscription] = q
	}
}

// Answer implements [relay.Member].
func (p *peer) Answer(_ context.Context, request []byte) []byte {
	p.mu.Lock()
	answer := p.answer
	p.mu.Unlock()
	if answer == nil {
		return nil
	}
	return answer(request)
}

// until waits for something that the peer is told.
func (p *peer) until(what string, happened func() bool) {
	p.t.Helper()
	for end := time.Now().Add(sharingPatience); ; {
		p.mu.Lock()
		ok := happened()
		p.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s: not within %v", what, sharingPatience)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// carries waits until the peer carries subscriptions, and returns how the last one came.
func (p *peer) carries(names ...string) (last relay.Progress) {
	p.t.Helper()
	for _, name := range names {
		p.until(name+" is carried", func() bool {
			_, ok := p.carried[name]
			last = p.carried[name]
			return ok
		})
	}
	return last
}

// asked waits until a subscription is asked back.
func (p *peer) asked(name string) {
	p.t.Helper()
	p.until(name+" is asked back", func() bool { return p.yields[name] > 0 })
}

// yield gives back what was asked for.
func (p *peer) yield(name string) {
	p.t.Helper()
	p.asked(name)
	p.mu.Lock()
	delete(p.carried, name)
	delete(p.yields, name)
	p.mu.Unlock()
	p.Yielded([]string{name})
}

// knows waits until the peer has learned that a subscription stands as it should.
func (p *peer) knows(name string, as func(q relay.Progress) bool) {
	p.t.Helper()
	p.until("learning of "+name, func() bool { return as(p.learned[name]) })
}

// append stores n events for subscriptions.
func (p *peer) append(n int, subscriptions ...string) []*relay.Event {
	p.t.Helper()
	h := Harness{Store: p.Shared}
	return h.add(p.t, n, subscriptions...)
}

// stands returns how a subscription stands in the store.
func (p *peer) stands(name string) relay.Progress {
	p.t.Helper()
	h := Harness{Store: p.Shared}
	return h.progress(p.t)[name]
}

// commit finishes a subscription up to low, under the epoch given.
func (p *peer) commit(name string, epoch, low uint64) error {
	return p.Commit(p.t.Context(), []relay.Update{finishing(name, epoch, low)})
}

func finishing(name string, epoch, low uint64) relay.Update {
	return relay.Update{Progress: relay.Progress{Subscription: name, Epoch: epoch, Low: low, Delivered: low}}
}

// leftOut fails the test unless err says that just these were left out.
func leftOut(t *testing.T, err error, names ...string) {
	t.Helper()
	out, ok := errors.AsType[*relay.NotCarriedError](err)
	if !ok || !slices.Equal(out.Subscriptions, names) {
		t.Fatalf("%v was not left out, but: %v", names, err)
	}
}

// numbered returns n names of subscriptions.
func numbered(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s%d", prefix, i))
	}
	return all
}
