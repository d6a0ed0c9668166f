package integration

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// setting reads a number from the environment, for longer runs.
func setting(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s=%q is no number", name, text)
	}
	return n
}

func TestBacklogSurvivesKill(t *testing.T) {
	t.Parallel()
	needRegions(t)
	r := newReceiver(t)
	r.down()
	o := &oracle{
		secret: newSecret(), sources: map[string]string{"crm": "127.0.0.2"},
		matching: func(string) []string { return []string{"crm"} },
	}
	c := run(t, fmt.Sprintf(`
		region eu 127.0.0.2
		subscription crm %s {
			allow_ips 127.0.0.1
			sign standard {env.SECRET}
			retry %s
			breaker off
		}`, r.url(), strings.Repeat("500ms ", 200)), withEnv("SECRET="+o.secret))

	const n = 200
	for i := range n {
		body := fmt.Sprintf(`{"order":%d}`, i)
		o.sending("order.paid", body)
		if !o.answered(body, c.post("/v1/events/order.paid", body)) {
			t.Fatal("an event was not taken")
		}
	}
	if s := c.subscription("crm"); s.Pending != n {
		t.Errorf("%d deliveries are pending; want %d", s.Pending, n)
	}
	c.kill()
	o.kills = append(o.kills, time.Now())
	r.up()
	c.start()
	r.want(n)
	c.drained()
	for _, breach := range o.breaches(r.got(), c.deliveries()) {
		t.Error(breach)
	}
	if accepted, _ := o.counts(); accepted != n {
		t.Errorf("%d events were accepted; want %d", accepted, n)
	}
}

// F1: the relay is killed at random moments while events come and go. For longer runs
// set RELAY_TEST_KILLS; a run is repeated, as far as that is possible, with the seed that
// it logs in RELAY_TEST_SEED.
func TestAcceptedEventsSurviveKillsAtRandomMoments(t *testing.T) {
	t.Parallel()
	needRegions(t)
	kills := setting(t, "RELAY_TEST_KILLS", 10)
	seed := uint64(setting(t, "RELAY_TEST_SEED", int(rand.Int32())))
	t.Logf("RELAY_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))

	crm, audit, moody := newReceiver(t), newReceiver(t), newReceiver(t)
	moody.answer(func(w http.ResponseWriter, a *arrival) {
		status := http.StatusOK
		// By the body, so that it is the same after a kill.
		if sum := sha256.Sum256(a.body); sum[0]%4 == 0 && number(a, "Relay-Attempt") == 1 {
			status = http.StatusInternalServerError
		}
		w.WriteHeader(status)
	})
	o := &oracle{
		secret:  newSecret(),
		sources: map[string]string{"crm": "127.0.0.2", "moody": "127.0.0.2", "audit": "127.0.0.3", "held": "127.0.0.3"},
		matching: func(typ string) []string {
			if strings.HasPrefix(typ, "order.") {
				return []string{"crm", "audit", "moody"}
			}
			return []string{"audit", "held"}
		},
	}
	c := run(t, fmt.Sprintf(`
		region eu 127.0.0.2
		region us 127.0.0.3
		defaults {
			allow_ips 127.0.0.1
			region eu
			sign standard {env.SECRET}
			retry 20ms 50ms 100ms 500ms 1s 2s 5s {
				jitter 0.2
			}
		}
		subscription crm %s order.*
		subscription moody %s order.*
		subscription audit %s {
			region us
		}
		subscription held %[3]s invoice.* {
			region us
			paused "the books are closed"
		}`, crm.url(), moody.url(), audit.url()), withEnv("SECRET="+o.secret))

	load := startLoad(c, o, 6)
	for range kills {
		time.Sleep(time.Duration(50+random.IntN(350)) * time.Millisecond)
		o.killed(func() { c.kill() })
		c.start()
	}
	load.stop()

	var held subscription
	eventually(t, func() bool {
		held = c.subscription("held")
		for _, name := range []string{"crm", "moody", "audit"} {
			if c.subscription(name).Pending > 0 {
				return false
			}
		}
		return true
	}, func() string { return fmt.Sprintf("%+v", c.status()) })
	got := slices.Concat(crm.got(), moody.got(), audit.got())
	for _, breach := range o.breaches(got, c.deliveries()) {
		t.Error(breach)
	}
	accepted, unknown := o.counts()
	t.Logf("%d kills: %d events accepted, %d unknown, %d requests, %d held", kills, accepted, unknown, len(got), held.Pending)
	if accepted < 10*kills {
		t.Errorf("only %d events were accepted: there was hardly any load", accepted)
	}
}

// killed notes when it happened.
func (o *oracle) killed(kill func()) {
	kill()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kills = append(o.kills, time.Now())
}

// load is a number of applications that post events, one after the other.
type load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	// failed are the errors that applications had.
	mu     sync.Mutex
	failed []error
}

func startLoad(c *instance, o *oracle, applications int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	for i := range applications {
		l.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				l.send(ctx, c, o, i, n)
			}
		})
	}
	c.t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	l.cancel()
	l.done.Wait()
}

// send posts one event. Two of three applications send it again until they are
// answered, with the same key; the others shrug.
func (l *load) send(ctx context.Context, c *instance, o *oracle, application, n int) {
	typ := "order.paid"
	if n%4 == 0 {
		typ = "invoice.sent"
	}
	body := fmt.Sprintf(`{"application":%d,"n":%d,"text":%q}`, application, n, strings.Repeat("x", n%700))
	o.sending(typ, body)
	key := fmt.Sprintf("key-%d-%d", application, n)
	for {
		a := c.post("/v1/events/"+typ, body, "Idempotency-Key", key)
		if o.answered(body, a) {
			return
		}
		l.note(a)
		// Whoever is refused by a relay that is down does not try again at once.
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return
		}
		if application%3 == 0 {
			return
		}
	}
}

func (l *load) note(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := a.err
	if err == nil {
		err = fmt.Errorf("answered %s", a)
	}
	l.failed = append(l.failed, err)
}

func (l *load) failures() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failed)
}
