package intake

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudgetFollowsTheMemoryLimit(t *testing.T) {
	for limit, want := range map[int64]int64{math.MaxInt64: 128 << 20, 8 << 30: 128 << 20, 512 << 20: 64 << 20, 64 << 20: 16 << 20, 0: 16 << 20} {
		equal(t, fmt.Sprint(limit), budgetSize(limit), want)
	}
}

// fill takes until it is refused, and returns the holds and why there were no more.
func fill(b *budget, remote string, bytes int64) ([]*hold, verdict) {
	var holds []*hold
	for {
		h := &hold{budget: b, remote: remote}
		if v := h.take(bytes); v != granted {
			h.release()
			return holds, v
		}
		holds = append(holds, h)
	}
}

func TestOneSenderLeavesRoomForTheNext(t *testing.T) {
	b := newBudget(64 << 10)
	// 32 KiB are anyone's; of the other 32 one may hold half.
	first, why := fill(b, "192.0.2.1:1000", 1<<10)
	equal(t, "first", len(first), 48)
	equal(t, "why", why, excessive)
	second, why := fill(b, "192.0.2.2:1000", 1<<10)
	equal(t, "second", len(second), 8)
	equal(t, "why", why, excessive)
	// Another port is the same sender, and so is another address of its IPv6 network.
	again, _ := fill(b, "192.0.2.2:2000", 1<<10)
	equal(t, "again", len(again), 0)
	third, _ := fill(b, "[2001:db8::1]:1", 1<<10)
	equal(t, "third", len(third), 4)
	again, _ = fill(b, "[2001:db8::2%eth0]:1", 1<<10)
	equal(t, "again", len(again), 0)
	mapped, _ := fill(b, "[::ffff:192.0.2.2]:1", 1<<10)
	equal(t, "mapped", len(mapped), 0)
	// Who has none gets some, as long as there is some.
	if socket, _ := fill(b, "@", 1<<10); len(socket) == 0 {
		t.Error("nothing was left for a unix socket")
	}

	// When the first has gone, the second may have what the first had.
	for _, h := range first {
		h.release()
	}
	if more, _ := fill(b, "192.0.2.2:1000", 1<<10); len(more) < 24 {
		t.Errorf("%d", len(more))
	}
}

func TestWhatDoesNotFitAtAllIsDenied(t *testing.T) {
	b := newBudget(64 << 10)
	h := &hold{budget: b, remote: "192.0.2.1:1"}
	equal(t, "verdict", h.take(65<<10), denied)
	h.release()
	equal(t, "used", b.used.Load(), int64(0))
}

func TestBudgetIsGivenBack(t *testing.T) {
	b := newBudget(1 << 20)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for range 500 {
				h := &hold{budget: b, remote: fmt.Sprintf("192.0.2.%d:1", i%3)}
				for range random.IntN(4) {
					_ = h.take(int64(random.IntN(400 << 10)))
				}
				if used := b.used.Load(); used > 1<<20+8*400<<10 {
					t.Errorf("%d bytes are held", used)
				}
				h.release()
			}
		})
	}
	group.Wait()
	if used := b.used.Load(); used != 0 || len(b.beyond) != 0 {
		t.Errorf("%d bytes and %v are left", used, b.beyond)
	}
}

// The one who is sent away as the thousandth comes after the first.
func TestTurnsAreSpreadAtTheRateOfService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q turns
		time.Sleep(time.Hour)
		equal(t, "the first, of whom nothing is known", q.next(), 1)
		// A hundred a second are served.
		time.Sleep(time.Second)
		q.served.Add(100)
		var given []int
		for range 1000 {
			given = append(given, q.next())
		}
		if !slices.IsSorted(given) || given[0] != 1 || given[999] != 11 {
			t.Errorf("from %d to %d", given[0], given[999])
		}
		for second, n := range counted(given) {
			if n > 101 {
				t.Errorf("%d are to come after %d seconds", n, second)
			}
		}
		// Nobody was served since, and more come.
		time.Sleep(2 * time.Second)
		equal(t, "at a standstill", q.next(), turnMost)
		// Later they are all forgotten.
		time.Sleep(time.Hour)
		equal(t, "an hour later", q.next(), 1)
	})
}

func counted(given []int) map[int]int {
	n := make(map[int]int)
	for _, g := range given {
		n[g]++
	}
	return n
}

// Requests hold their part until they are answered, whatever the answer is.
func TestEveryRequestGivesItsPartBack(t *testing.T) {
	s := newSetup(t)
	for _, a := range []ask{
		{path: "/v1/events/a", body: "1"},
		{path: "/v1/events/a", body: "{"},
		{path: "/v1/events", body: `{}`},
		{method: http.MethodGet, path: "/v1/events/evt_1"},
	} {
		s.do(a)
	}
	if used := s.budget.used.Load(); used != 0 {
		t.Errorf("%d bytes are held", used)
	}
}

func TestBudgetIsChargedWhileTheEventIsStored(t *testing.T) {
	s := newSetup(t)
	const size = 100 << 10
	var during int64
	s.engine.publishing = func() { during = s.budget.used.Load() }
	s.accept(t, ask{path: "/v1/events/a", body: fmt.Sprintf("\"%0*d\"", size-2, 0)})
	if during < requestCost+size || during > requestCost+size+firstRead {
		t.Errorf("%d bytes are charged for a body of %d", during, size)
	}
}

// An event of a batch, and data that came encoded, is a copy: it is charged beside the
// body.
func TestBudgetIsChargedForCopies(t *testing.T) {
	const size = 200 << 10
	data := fmt.Sprintf("%0*d", size, 0)
	for header, body := range map[string]string{
		"Content-Type: application/x-ndjson":               `{"type":"a","data":"` + data + `"}`,
		"Content-Type: application/cloudevents-batch+json": `[{"specversion":"1.0","id":"1","source":"/s","type":"a","data":"` + data + `"}]`,
		"Content-Type: application/cloudevents+json":       `{"specversion":"1.0","id":"1","source":"/s","type":"a","data_base64":"` + data + `"}`,
	} {
		s := newSetup(t)
		var during int64
		s.engine.publishing = func() { during = s.budget.used.Load() }
		if w := s.do(ask{path: "/v1/events", header: header, body: body}); w.Code != http.StatusAccepted {
			t.Fatal(header, w.Body)
		}
		if during < requestCost+2*size {
			t.Errorf("%s: %d bytes are charged for a body and a copy of %d", header, during, size)
		}
		equal(t, "held after it", s.budget.used.Load(), int64(0))
	}
}
