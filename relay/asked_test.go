package relay_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// What another relay asks may be of another version, or be damaged: the answer is an error,
// and the relay that is asked lives on.
func TestQuestionsThatSayTooLittle(t *testing.T) {
	runFleet(t, 2, func(f *fleet) {
		f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("crm")} })
		ctx := context.Background()
		for question, want := range map[string]string{
			`{"v":1,"do":"start","subscription":"crm"}`:             "does not say of what",
			`{"v":1,"do":"start","subscription":"crm","replay":{}}`: "",
			`{"v":1,"do":"job"}`:                                    "no such job",
			`{"v":1,"do":"replay","event":"evt_none"}`:              "no such event",
			`{"v":1,"do":"pause"}`:                                  "no subscription named",
			`{"v":9,"do":"dance"}`:                                  `does not know "dance"`,
			`{"v":1}`:                                               `does not know ""`,
			`{"v":1,"do":`:                                          "unexpected end",
			``:                                                      "unexpected end",
			`null`:                                                  `does not know ""`,
			`[1]`:                                                   "cannot unmarshal",
		} {
			members, err := f.nodes[0].engine.Members(ctx)
			if err != nil || len(members) != 2 {
				t.Fatalf("%+v, %v", members, err)
			}
			raw, err := f.nodes[0].store.Ask(ctx, relay.Addressee{Member: members[1].ID}, []byte(question))
			if err != nil {
				t.Fatalf("%s: %v", question, err)
			}
			var answer struct {
				Error *struct {
					Text string `json:"text"`
				} `json:"error"`
			}
			if err := json.Unmarshal(raw, &answer); err != nil {
				t.Fatalf("%s: %v: %s", question, err, raw)
			}
			switch {
			case want == "" && answer.Error == nil:
			case want == "" || answer.Error == nil || !strings.Contains(answer.Error.Text, want):
				t.Errorf("%s is answered %s; want %q", question, raw, want)
			}
		}
	})
}

// An answer without what was asked for is an error, too.
func TestAnswersThatSayTooLittle(t *testing.T) {
	runFleet(t, 1, func(f *fleet) {
		mute := &mutedStore{ClusterStore: f.cluster.Open()}
		n := f.joinBy(mute.ClusterStore, mute)
		f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("crm")} })
		f.give("crm", n)
		ctx := context.Background()
		a := f.nodes[0].engine
		if j, err := a.StartReplay(ctx, relay.ReplayRequest{Subscription: "crm", Select: relay.SelectAll}); err == nil || !strings.Contains(err.Error(), "without saying anything") {
			t.Errorf("%+v, %v", j, err)
		}
		if j, err := a.Job(ctx, "job_none"); err == nil {
			t.Errorf("%+v", j)
		}
		if _, err := a.Status(ctx); err != nil {
			t.Error(err)
		}
	})
}

// mutedStore is that of a relay which answers nothing in many words.
type mutedStore struct{ *storagetest.ClusterStore }

func (s *mutedStore) Join(ctx context.Context, m relay.Member) error {
	return s.ClusterStore.Join(ctx, muted{m})
}

type muted struct{ relay.Member }

func (muted) Answer(context.Context, []byte) []byte { return []byte(`{"v":1}`) }

// What a relay has appended itself counts, though it begins to carry the subscription with a
// record from before that.
func TestCarryingGoesOnFromTheHeadThatIsKnown(t *testing.T) {
	runFleet(t, 1, func(f *fleet) {
		stale := &staleStore{ClusterStore: f.cluster.Open()}
		b := f.joinBy(stale.ClusterStore, stale)
		f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("crm")} })
		ctx := context.Background()
		f.give("crm", f.nodes[0])
		if _, err := b.engine.Pause(ctx, "crm", ""); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for range 3 {
			ids = append(ids, b.publish("a", "1").ID)
		}
		f.give("crm", b)
		if !stale.hid {
			t.Fatal("the record that it began with was not an old one")
		}
		if _, err := b.engine.Resume(ctx, "crm"); err != nil {
			t.Fatal(err)
		}
		f.wait(time.Second)
		for _, id := range ids {
			if n := f.sent.taken("crm", id); n != 1 {
				t.Errorf("%s came %d times", id, n)
			}
		}
	})
}

// staleStore tells of heads as they were before anything was appended.
type staleStore struct {
	*storagetest.ClusterStore
	hid bool
}

func (s *staleStore) Join(ctx context.Context, m relay.Member) error {
	return s.ClusterStore.Join(ctx, &stale{m, s})
}

type stale struct {
	relay.Member
	store *staleStore
}

func (m *stale) hide(all []relay.Progress) []relay.Progress {
	for i := range all {
		m.store.hid = m.store.hid || all[i].Head > 0
		all[i].Head = 0
	}
	return all
}

func (m *stale) Carry(all []relay.Progress) { m.Member.Carry(m.hide(all)) }
func (m *stale) Learn(all []relay.Progress) { m.Member.Learn(m.hide(all)) }
