package relay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/egress"
	"github.com/caddyrelay/caddyrelay/relay/egresslist"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// Whoever is asked, a pause holds where the deliveries are made, and so does all else.
func TestSteeringFromAnyRelay(t *testing.T) {
	runFleet(t, 3, func(f *fleet) {
		f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("crm")} })
		ctx := context.Background()
		_, others := f.carrier("crm")
		b, c := others[0], others[1]

		s, err := b.engine.Pause(ctx, "crm", "for now")
		if err != nil || s.State != relay.SubscriptionPaused || s.Detail != "for now" {
			t.Fatalf("%+v, %v", s, err)
		}
		ids := []string{b.publish("a", "1").ID, c.publish("a", "2").ID}
		f.wait(5 * time.Second)
		if n := len(f.sent.of("crm")); n != 0 {
			t.Errorf("%d attempts while it is paused", n)
		}
		c.expect(ids[0], relay.StateHeld, relay.ReasonPaused, 0)
		if s := c.status("crm"); s.State != relay.SubscriptionPaused || s.Pending != 2 {
			t.Errorf("the third relay says %+v", s)
		}

		// A pause moves with the subscription.
		f.give("crm", c)
		f.wait(5 * time.Second)
		if n := len(f.sent.of("crm")); n != 0 {
			t.Errorf("%d attempts after a paused subscription has moved", n)
		}
		if s, err := b.engine.Resume(ctx, "crm"); err != nil || s.State != relay.SubscriptionActive {
			t.Fatalf("%+v, %v", s, err)
		}
		f.wait(time.Second)
		f.finished("crm", ids)

		for _, n := range []*node{b, c} { // where it is carried, and where it is not
			if err := n.engine.Replay(ctx, ids[0], "crm"); err != nil {
				t.Fatal(err)
			}
			f.wait(time.Second)
		}
		if n := f.sent.taken("crm", ids[0]); n != 3 {
			t.Errorf("after two replays it arrived %d times", n)
		}

		if _, err := b.engine.Pause(ctx, "crm", ""); err != nil {
			t.Fatal(err)
		}
		dropped := b.publish("a", "3").ID
		f.wait(2 * time.Second)
		if s, err := b.engine.Drop(ctx, "crm"); err != nil || s.Pending != 0 || s.Failed != 1 {
			t.Errorf("%+v, %v", s, err)
		}
		b.expect(dropped, relay.StateFailed, relay.ReasonDropped, 0)
		if _, err := b.engine.Resume(ctx, "crm"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.engine.Test(ctx, "crm"); err != nil {
			t.Error(err)
		}
		f.wait(2 * time.Second)
		if all := f.sent.of("crm"); all[len(all)-1].body != `{"test":true}` {
			t.Errorf("the last delivery is %s", all[len(all)-1].body)
		}
	})
}

// A drop that another relay makes, and that takes longer than anybody waits, goes on, and whoever
// has asked for it is told so; as they are told who is silent.
func TestDropElsewhereThatTakesLong(t *testing.T) {
	runFleet(t, 1, func(f *fleet) {
		slow := &slowlyListed{ClusterStore: f.cluster.Open()}
		a, b, ctx := f.nodes[0], f.joinBy(slow.ClusterStore, slow), context.Background()
		f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("crm")} })
		f.give("crm", b)
		if _, err := b.engine.Pause(ctx, "crm", ""); err != nil {
			t.Fatal(err)
		}
		id := a.publish("a", "1").ID
		f.wait(time.Second)
		slow.lag.Store(int64(time.Minute))
		_, err := a.engine.Drop(ctx, "crm")
		if err == nil || !strings.Contains(err.Error(), "the drop goes on") || !strings.Contains(err.Error(), "longer than 15s") {
			t.Errorf("dropping what takes a minute: %v", err)
		}
		slow.lag.Store(0)
		f.wait(2 * time.Minute)
		a.expect(id, relay.StateFailed, relay.ReasonDropped, 0)

		// No deadline of the answer helps where nothing is answered at all.
		slow.mute.Store(true)
		_, err = a.engine.Pause(ctx, "crm", "")
		if err == nil || !strings.Contains(err.Error(), `"crm"`) || !strings.Contains(err.Error(), "asked to pause, and has not answered within 20s") {
			t.Errorf("pausing at a relay that is silent: %v", err)
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if _, err = a.engine.Pause(gone, "crm", ""); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "asked to") {
			t.Errorf("pausing by who has gone: %v", err)
		}
		f.wait(time.Minute)
	})
}

// slowlyListed is the store of a relay which reads for a long time, and may answer late.
type slowlyListed struct {
	*storagetest.ClusterStore
	lag  atomic.Int64
	mute atomic.Bool
}

func (s *slowlyListed) Join(ctx context.Context, m relay.Member) error {
	return s.ClusterStore.Join(ctx, &silent{m, s})
}

func (s *slowlyListed) Open(ctx context.Context, name string, after uint64, limit int) ([]relay.Exception, error) {
	time.Sleep(time.Duration(s.lag.Load()))
	return s.ClusterStore.Open(ctx, name, after, limit)
}

type silent struct {
	relay.Member
	store *slowlyListed
}

func (m *silent) Answer(ctx context.Context, request []byte) []byte {
	if m.store.mute.Load() {
		time.Sleep(40 * time.Second)
	}
	return m.Member.Answer(ctx, request)
}

// An error means the same, wherever it happens.
func TestErrorsOfOtherRelaysKeepTheirTypes(t *testing.T) {
	runFleet(t, 2, func(f *fleet) {
		f.everywhere(func(n *node) []*relay.Subscription {
			s := n.sub("crm")
			s.Paused = true
			return []*relay.Subscription{s}
		})
		ctx := context.Background()
		_, others := f.carrier("crm")
		b := others[0].engine
		id := others[0].publish("a", "1").ID
		f.wait(time.Second)
		if _, err := b.Resume(ctx, "crm"); !errors.Is(err, relay.ErrPausedByConfiguration) || err.Error() != relay.ErrPausedByConfiguration.Error() {
			t.Errorf("resuming: %v", err)
		}
		if err := b.Replay(ctx, id, "crm"); !errors.Is(err, relay.ErrUnfinished) {
			t.Errorf("replaying what is not finished: %v", err)
		}
		if err := b.Replay(ctx, id, "mail"); !errors.Is(err, relay.ErrNoDelivery) {
			t.Errorf("replaying what it was not meant for: %v", err)
		}
		if _, err := b.Pause(ctx, "mail", ""); !errors.As(err, new(*relay.UnknownNameError)) {
			t.Errorf("pausing what there is not: %v", err)
		}
		if _, err := b.Job(ctx, "job_none"); !errors.Is(err, relay.ErrNoJob) {
			t.Errorf("a job that there is not: %v", err)
		}
		if err := b.Movable(ctx); !errors.As(err, new(*relay.NotAloneError)) || !strings.Contains(err.Error(), "stop m") {
			t.Errorf("moving events while there are others: %v", err)
		}
	})
}

// A replay of many runs where the deliveries are made, and is seen and ended from anywhere.
func TestJobsFromAnyRelay(t *testing.T) {
	runFleet(t, 3, func(f *fleet) {
		f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("crm")} })
		ctx := context.Background()
		a, others := f.carrier("crm")
		var ids []string
		for i := range 40 {
			ids = append(ids, others[0].publish("a", fmt.Sprint(i)).ID)
		}
		f.wait(time.Second)
		f.finished("crm", ids)
		j, err := others[0].engine.StartReplay(ctx, relay.ReplayRequest{Subscription: "crm", Select: relay.SelectAll, Rate: 2})
		if err != nil {
			t.Fatal(err)
		}
		f.wait(5 * time.Second)
		for _, n := range f.nodes {
			got, err := n.engine.Job(ctx, j.ID)
			if err != nil || got.State != relay.JobRunning || got.Total != 40 || got.Replayed == 0 {
				t.Errorf("%+v, %v", got, err)
			}
			if all := n.engine.Jobs(ctx); len(all) != 1 || all[0].ID != j.ID {
				t.Errorf("%+v", all)
			}
		}
		// It goes on while the subscription moves, and until it is cancelled elsewhere.
		f.give("crm", others[1])
		f.wait(5 * time.Second)
		got, err := others[1].engine.CancelJob(ctx, j.ID)
		if err != nil || got.State != relay.JobCancelled || got.Replayed < 15 || got.Replayed > 25 {
			t.Errorf("%+v, %v", got, err)
		}
		f.wait(5 * time.Second)
		again := 0
		for _, id := range ids {
			again += f.sent.taken("crm", id) - 1
		}
		if again != got.Replayed {
			t.Errorf("%d deliveries were made again, the job has replayed %d", again, got.Replayed)
		}
		if got, err := a.engine.Job(ctx, j.ID); err != nil || got.State != relay.JobCancelled {
			t.Errorf("%+v, %v", got, err)
		}
		// What an event missed when it came, any relay adds.
		missed, err := others[0].engine.StartReplay(ctx, relay.ReplayRequest{Subscription: "crm", Select: relay.SelectMissing})
		if err != nil {
			t.Fatal(err)
		}
		f.wait(time.Second)
		if got, err := a.engine.Job(ctx, missed.ID); err != nil || got.State != relay.JobDone {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// What is erased anywhere is in nobody's memory.
func TestErasureReachesWhoeverHasIt(t *testing.T) {
	runFleet(t, 2, func(f *fleet) {
		f.everywhere(func(n *node) []*relay.Subscription {
			waits := n.sub("waits")
			waits.RateLimit = relay.RateLimit{Events: 1, Window: time.Minute}
			return []*relay.Subscription{waits, n.sub("crm")}
		})
		ctx := context.Background()
		a, others := f.carrier("waits")
		f.give("crm", a)
		first, second := a.publish("a", "1").ID, a.publish("a", "secret").ID
		f.wait(10 * time.Second) // the second one waits in the memory of the one that carries it
		if err := others[0].engine.Erase(ctx, second); err != nil {
			t.Fatal(err)
		}
		f.wait(time.Hour)
		if n := len(f.sent.of("waits")); n != 1 {
			t.Errorf("%d deliveries, want that of %s alone", n, first)
		}
		for _, n := range f.nodes {
			e, deliveries, err := n.engine.Inspect(ctx, second)
			if err != nil || e.Erased.IsZero() || len(deliveries) != 2 {
				t.Fatalf("%+v, %v", e, err)
			}
			for _, d := range deliveries {
				want := relay.StateDelivered // it was before
				if d.Subscription == "waits" {
					want = relay.StateFailed
				}
				if d.State != want {
					t.Errorf("%+v", d)
				}
			}
		}
	})
}

// Status and lists are the same at each relay.
func TestEveryRelayAnswersForAll(t *testing.T) {
	runFleet(t, 3, func(f *fleet) {
		f.everywhere(func(n *node) []*relay.Subscription {
			var all []*relay.Subscription
			for i := range 6 {
				all = append(all, n.sub(fmt.Sprint("s", i)))
			}
			return all
		})
		f.sent.answer = func(v *sentBy) (*http.Response, error) {
			switch v.subscription {
			case "s1":
				return answer(500), nil
			case "s2":
				return answer(429, "Retry-After: 3600"), nil
			case "s3":
				return slowly(10 * time.Minute)(v)
			}
			return answer(200), nil
		}
		for i := range 30 {
			f.nodes[i%3].publish("a", fmt.Sprint(i))
			f.wait(50 * time.Millisecond)
		}
		f.wait(5 * time.Second)
		ctx := context.Background()
		var first []relay.SubscriptionStatus
		lists := make([]relay.DeliveryPage, len(f.nodes))
		for i, n := range f.nodes {
			all, err := n.engine.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = all
			} else if inJSON(t, all) != inJSON(t, first) {
				t.Errorf("the node %d says\n%+v\nthe first one\n%+v", i, all, first)
			}
			if lists[i], err = n.engine.Deliveries(ctx, relay.DeliveryQuery{Limit: 500}); err != nil {
				t.Fatal(err)
			}
			for j := range lists[i].Deliveries {
				d, want := lists[i].Deliveries[j], lists[0].Deliveries[j]
				if d.State != want.State || d.Reason != want.Reason || d.AttemptCount != want.AttemptCount || d.Event != want.Event {
					t.Errorf("the node %d says %+v, the first one %+v", i, d, want)
				}
			}
		}
		carried := 0
		for _, n := range f.nodes {
			here, err := n.engine.StatusHere(ctx)
			if err != nil {
				t.Fatal(err)
			}
			carried += len(here)
		}
		if carried != 6 {
			t.Errorf("the figures of all relays are of %d subscriptions together, want 6", carried)
		}
		waiting := f.nodes[0].engine.Backlogs()
		for i, n := range f.nodes {
			if got := n.engine.Backlogs(); len(got) != 3 || !reflect.DeepEqual(got, waiting) {
				t.Errorf("the node %d counts %v that wait, the first one %v", i, got, waiting)
			}
		}
		byName := func(name string) relay.SubscriptionStatus {
			return first[slices.IndexFunc(first, func(s relay.SubscriptionStatus) bool { return s.Name == name })]
		}
		if s := byName("s3"); s.InFlight != 1 && s.InFlight != 16 {
			t.Errorf("%+v", s)
		}
		if s := byName("s2"); s.Reason != relay.ReasonRetryAfter {
			t.Errorf("%+v", s)
		}
	})
}

// What no relay has addresses for is held, shown, and can be steered.
func TestRegionNobodyHas(t *testing.T) {
	runFleet(t, 2, func(f *fleet) {
		addr := netip.MustParseAddr("192.0.2.77") // of the documentation: no machine has it
		region, err := egress.NewRegion("eu", []egress.Address{{Addr: addr}})
		if err != nil {
			t.Fatal(err)
		}
		plan := func(n *node, regions ...*egress.Region) {
			s := n.sub("crm")
			s.Region = "eu"
			n.attach(relay.PlanOptions{Subscriptions: []*relay.Subscription{s, n.sub("mail")}, Regions: regions})
		}
		for _, n := range f.nodes {
			plan(n, region)
		}
		f.wait(10 * time.Second)
		id := f.nodes[0].publish("a", "1").ID
		f.wait(10 * time.Second)
		if f.cluster.Owner("crm") != nil || f.cluster.Owner("mail") == nil {
			t.Fatal("the region does not decide who carries what")
		}
		for _, n := range f.nodes {
			s := n.status("crm")
			if s.State != relay.SubscriptionActive || s.Reason != relay.ReasonNoInstance || s.Pending != 1 ||
				s.Detail != `no relay that is alive has an address of the region "eu"` {
				t.Errorf("%+v", s)
			}
			if n := n.engine.Backlogs()["crm"]; n != 1 {
				t.Errorf("%d wait, want 1", n)
			}
			d, err := n.engine.DeliveriesOf(context.Background(), event(t, n, id), event(t, n, id).Deliveries[:1])
			if err != nil || d[0].State != relay.StateHeld || d[0].Reason != relay.ReasonNoInstance {
				t.Errorf("%+v, %v", d, err)
			}
		}
		// Of what nobody carries, one of them has the figures.
		told := 0
		for _, n := range f.nodes {
			here, err := n.engine.StatusHere(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range here {
				if s.Name != "crm" {
					continue
				}
				if told++; s.Pending != 1 || s.Reason != relay.ReasonNoInstance || s.Detail == "" {
					t.Errorf("%+v", s)
				}
			}
		}
		if told != 1 {
			t.Errorf("%d relays have the figures of what nobody carries; want 1", told)
		}
		late := f.join()
		plan(late) // where the address is
		f.wait(2 * time.Second)
		f.finished("crm", []string{id})
	})
}

// A pause needs nobody who could deliver.
func TestSteeringWhatNobodyCarries(t *testing.T) {
	runFleet(t, 2, func(f *fleet) {
		ctx := context.Background()
		f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("crm"), n.sub("mail")} })
		carrier, _ := f.carrier("crm")
		if _, err := carrier.engine.Pause(ctx, "crm", ""); err != nil {
			t.Fatal(err)
		}
		id := carrier.publish("a", "1").ID
		f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("mail")} })
		others := f.nodes
		if f.cluster.Owner("crm") != nil { // it was not asked back meanwhile
			carrier, others = f.carrier("crm")
			carrier.close() // and with it the last one that carries it
		}
		f.wait(time.Second)
		if f.cluster.Owner("crm") != nil {
			t.Fatal("it is carried by who does not offer it")
		}
		b := others[0]
		if s := b.status("crm"); s.State != relay.SubscriptionGone || s.Pending != 1 {
			t.Errorf("%+v", s)
		}
		s, err := b.engine.Drop(ctx, "crm")
		if err != nil || s.Pending != 0 {
			t.Fatalf("%+v, %v", s, err)
		}
		_, deliveries, err := b.engine.Inspect(ctx, id)
		if err != nil || !slices.ContainsFunc(deliveries, func(d relay.Delivery) bool { return d.Reason == relay.ReasonDropped }) {
			t.Errorf("%+v, %v", deliveries, err)
		}
	})
}

// What another relay carries can be steered before anybody has heard of an event for it.
func TestSubscriptionThatOnlyAnotherRelayKnowsIsSteered(t *testing.T) {
	runFleet(t, 2, func(f *fleet) {
		a, b, ctx := f.nodes[0], f.nodes[1], context.Background()
		a.attach(relay.PlanOptions{Subscriptions: []*relay.Subscription{a.sub("new")}})
		b.attach(relay.PlanOptions{Subscriptions: []*relay.Subscription{b.sub("other")}})
		f.wait(2 * time.Second)
		if s, err := b.engine.Pause(ctx, "new", "later"); err != nil || s.Detail != "later" {
			t.Errorf("%+v, %v", s, err)
		}
		if _, err := b.engine.StartReplay(ctx, relay.ReplayRequest{Subscription: "new", Select: relay.SelectFailed}); err != nil {
			t.Error(err)
		}
		if _, err := b.engine.Pause(ctx, "none", ""); err == nil {
			t.Error("what nobody has is paused")
		}
	})
}

// While a configuration is changed on one machine after the other, each relay does what its
// own knows.
func TestRollingChangeOfConfiguration(t *testing.T) {
	runFleet(t, 3, func(f *fleet) {
		old := func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("x"), n.sub("y")} }
		changed := func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("y"), n.sub("z")} }
		f.everywhere(old)
		var y, z []string
		for i, n := range f.nodes {
			n.attach(relay.PlanOptions{Subscriptions: changed(n)})
			f.wait(2 * time.Second)
			e := n.publish("a", fmt.Sprint(i))
			y, z = append(y, e.ID), append(z, e.ID)
			if i == 0 { // it is asked for what the others carry, and the reverse
				if _, err := n.engine.Pause(context.Background(), "x", ""); err != nil {
					t.Error(err)
				}
				if _, err := f.nodes[2].engine.Pause(context.Background(), "z", ""); err != nil {
					t.Error(err)
				}
				if s, err := f.nodes[1].engine.Resume(context.Background(), "z"); err != nil || s.State != relay.SubscriptionActive {
					t.Errorf("%+v, %v", s, err)
				}
			}
			if i < 2 {
				if owner := f.cluster.Owner("x"); owner == nil || owner == n.store {
					t.Error("who no longer has a subscription carries it while others do")
				}
			}
			f.wait(2 * time.Second)
		}
		f.wait(5 * time.Second)
		f.finished("y", y)
		f.finished("z", z)
	})
}

// Of what happens once, all relays together tell once.
func TestNoticesAreToldOnce(t *testing.T) {
	runFleet(t, 3, func(f *fleet) {
		f.sent.answer = func(v *sentBy) (*http.Response, error) {
			if v.subscription == "bad" {
				return answer(410), nil
			}
			return answer(200), nil
		}
		now := time.Now()
		for _, n := range f.nodes {
			news := subscription("news", &route{n}, "relay.*")
			n.attach(relay.PlanOptions{
				Subscriptions: []*relay.Subscription{news, n.sub("bad")},
				Egress: []egresslist.Region{{Name: "eu", Entries: []egresslist.Entry{
					{Prefix: netip.MustParsePrefix("192.0.2.1/32")},
					{Prefix: netip.MustParsePrefix("192.0.2.2/32"), From: now.Add(time.Hour)},
				}}},
			})
		}
		f.wait(time.Minute)
		for _, n := range f.nodes {
			n.publish("a", "1")
		}
		f.wait(2 * time.Hour)
		count := make(map[string]int)
		for _, v := range f.sent.of("news") {
			count[v.request.Header.Get("Relay-Event")]++
		}
		want := map[string]int{
			string(relay.TopicEgressScheduled): 1, string(relay.TopicEgressChanged): 1, string(relay.TopicDisabled): 1,
		}
		if !reflect.DeepEqual(count, want) {
			t.Errorf("told are %v, want %v", count, want)
		}
	})
}

// inJSON is how something is told to others: times are as precise as there.
func inJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// event returns an event as a node reads it.
func event(t *testing.T, n *node, id string) *relay.Event {
	t.Helper()
	e, err := n.engine.Event(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
