package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger"
)

func TestReloadKeepsTheEngineAndUsesTheNewPlan(t *testing.T) {
	first, second := newReceiver(t), newReceiver(t)
	c := startCaddy(t)
	c.load(config{subscriptions: "[" + first.subscription("crm") + "]"})
	before := c.engine()
	c.publish("order.paid")
	first.want(t, 1)

	c.load(config{subscriptions: "[" + second.subscription("crm") + "]"})
	if c.engine() != before {
		t.Error("the reload made another engine")
	}
	if n := references(c.dir); n != 1 {
		t.Errorf("%d configurations have the store; want 1", n)
	}
	c.publish("order.paid")
	second.want(t, 1)
	if n := len(first.headers()); n != 1 {
		t.Errorf("the old URL got %d deliveries; want 1", n)
	}
}

// TestGarbageIsPacedWhileAStoreIsOpen: by the percentage alone there would be a gigabyte of it
// beside a gigabyte of buffers.
func TestGarbageIsPacedWhileAStoreIsOpen(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(100)) // whatever these tests are run with
	buffer := make([]byte, 1<<30)                     // never touched
	runtime.GC()
	percent := func() uint64 {
		sample := []runtimemetrics.Sample{{Name: "/gc/gogc:percent"}}
		runtimemetrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	c := startCaddy(t)
	for range 2 {
		c.load(config{})
		eventually(t, func() bool { runtime.GC(); return percent() < 20 },
			func() string { return fmt.Sprintf("the percentage is %d", percent()) })
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if got := percent(); got != 100 {
		t.Errorf("the percentage is %d with no store open", got)
	}
	runtime.KeepAlive(buffer)
}

func TestFailedReloadLeavesTheOldPlanActive(t *testing.T) {
	old, rejected := newReceiver(t), newReceiver(t)
	c := startCaddy(t)
	c.load(config{subscriptions: "[" + old.subscription("crm") + "]"})
	// Apps start in random order: some of these begin with the relay, some with the other.
	for range 8 {
		err := caddy.Load([]byte(c.json(config{
			subscriptions: "[" + rejected.subscription("crm") + "]",
			apps:          `, "relay_test_failing": {}`,
		})), true)
		if err == nil || !strings.Contains(err.Error(), "this app never starts") {
			t.Fatalf("loading: %v", err)
		}
		if n := references(c.dir); n != 1 {
			t.Fatalf("%d configurations have the store; want 1", n)
		}
	}
	c.publish("order.paid")
	old.want(t, 1)
	if n := len(rejected.headers()); n != 0 {
		t.Errorf("the rejected configuration got %d deliveries", n)
	}
}

// While a reload fails, since another app cannot start, the configuration before it stays in force:
// events are matched with it, and nothing is sent by the one that is refused.
func TestReloadThatFailsWasNeverInForce(t *testing.T) {
	good, refused := newReceiver(t), newReceiver(t)
	c := startCaddy(t)
	c.load(config{subscriptions: "[" + good.subscription("crm") + "]"})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	engine := c.engine()
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; n < 500; n++ {
			select {
			case <-over:
				return
			default:
			}
			got, err := engine.Publish(context.Background(), []relay.Publication{{
				Event: &relay.Event{Type: "order.paid", ContentType: "application/json", Data: []byte("1")},
			}}, nil)
			if err != nil || len(got[0].Matched) != 1 {
				t.Errorf("an event was matched with %v (%v) while a reload failed", got, err)
				return
			}
		}
	}()
	broken := c.json(config{
		subscriptions: "[" + refused.subscription("crm") + ", " + refused.subscription("draft") + "]",
		apps:          fmt.Sprintf(`, "http": {"servers": {"a": {"listen": [%q]}}}`, taken.Addr()),
	})
	for range 40 { // apps start in any order
		if err := caddy.Load([]byte(broken), true); err == nil {
			t.Fatal("a configuration was loaded whose address is taken")
		}
	}
	close(over)
	<-ended
	if n := len(refused.headers()); n > 0 {
		t.Errorf("%d deliveries went to the URL of a configuration that was refused", n)
	}
}

func TestReloadThatIsNotProvisionedTouchesNothing(t *testing.T) {
	r := newReceiver(t)
	c := startCaddy(t)
	c.load(config{subscriptions: "[" + r.subscription("crm") + "]"})
	err := caddy.Load([]byte(c.json(config{subscriptions: `[{"name": "crm", "url": "https://10.0.0.1/"}]`})), true)
	if err == nil || !strings.Contains(err.Error(), `subscription "crm": destination 10.0.0.1 is refused`) {
		t.Fatalf("loading: %v", err)
	}
	c.publish("order.paid")
	r.want(t, 1)
}

func TestValidateBesideARunningOne(t *testing.T) {
	r := newReceiver(t)
	c := startCaddy(t)
	o := config{subscriptions: "[" + r.subscription("crm") + "]"}
	c.load(o)
	if err := validate(c.json(o)); err != nil {
		t.Fatalf("validating: %v", err)
	}
	if n := references(c.dir); n != 1 {
		t.Errorf("%d configurations have the store; want 1", n)
	}
	c.publish("order.paid")
	r.want(t, 1)
}

func TestReloadDoesNotWaitForReceivers(t *testing.T) {
	slow, next := newReceiver(t), newReceiver(t)
	slow.hold = make(chan struct{})
	c := startCaddy(t)
	c.load(config{subscriptions: "[" + slow.subscription("crm", `"timeout": "1h"`) + "]"})
	c.publish("order.paid")
	<-slow.came
	// The receiver answers only when the reload is over.
	loaded := make(chan error, 1)
	go func() {
		loaded <- caddy.Load([]byte(c.json(config{subscriptions: "[" + next.subscription("crm") + "]"})), true)
	}()
	select {
	case err := <-loaded:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		close(slow.hold)
		t.Fatal("the reload waits for a receiver")
	}
	close(slow.hold)
	slow.want(t, 1)
	// What comes next is the first that the new URL gets.
	c.publish("order.paid")
	next.want(t, 1)
	if sent := next.headers(); len(sent) != 1 || len(slow.headers()) != 1 {
		t.Errorf("what was in flight over the reload was sent again: %d requests to the new URL, %d to the old one", len(sent), len(slow.headers()))
	}
}

func TestExitWaitsForAttemptsInFlight(t *testing.T) {
	exiting = func() bool { return true }
	t.Cleanup(func() { exiting = caddy.Exiting })
	r := newReceiver(t)
	r.hold = make(chan struct{})
	c := startCaddy(t)
	c.load(config{subscriptions: "[" + r.subscription("crm") + "]"})
	c.publish("order.paid")
	<-r.came
	time.AfterFunc(200*time.Millisecond, func() { close(r.hold) })
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(r.headers()); n != 1 {
		t.Fatalf("%d deliveries had ended when Stop returned; want 1", n)
	}
	// It was recorded as delivered: the next start has nothing left to do.
	exiting = func() bool { return false }
	c.load(config{subscriptions: "[" + r.subscription("crm") + "]"})
	if n := c.engine().Unfinished(); n != 0 {
		t.Errorf("%d deliveries are unfinished after the restart", n)
	}
}

func TestExitCutsAttemptsAfterTheGracePeriod(t *testing.T) {
	exiting = func() bool { return true }
	t.Cleanup(func() { exiting = caddy.Exiting })
	r := newReceiver(t)
	r.hold = make(chan struct{})
	t.Cleanup(func() { close(r.hold) })
	c := startCaddy(t)
	c.load(config{
		subscriptions: "[" + r.subscription("crm") + "]",
		apps:          `, "http": {"grace_period": "200ms"}`,
	})
	c.publish("order.paid")
	<-r.came
	begun := time.Now()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("stopping took %s; want the grace period, 200ms", took)
	}
	c.wantLog("were cut when the grace period ended")
}

func TestStopReleasesTheStore(t *testing.T) {
	c := startCaddy(t)
	c.load(config{})
	engine := c.engine()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := references(c.dir); n != 0 {
		t.Errorf("%d configurations have the store", n)
	}
	_, err := engine.Publish(context.Background(), []relay.Publication{{Event: &relay.Event{Type: "a", Data: []byte("1")}}}, nil)
	if !errors.Is(err, relay.ErrClosed) {
		t.Errorf("publishing after Stop: %v; want ErrClosed", err)
	}
	store, err := badger.Open(c.dir, badger.Options{})
	if err != nil {
		t.Fatalf("the directory is still locked: %v", err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func TestAnotherDirectoryWarnsOfWhatStaysBehind(t *testing.T) {
	r := newReceiver(t)
	c := startCaddy(t)
	c.load(config{subscriptions: "[" + r.subscription("crm", `"paused": true`) + "]"})
	c.publish("order.paid")
	other := filepath.Join(t.TempDir(), "other")
	c.load(config{dir: other})
	if a, b := references(c.dir), references(other); a != 0 || b != 1 {
		t.Errorf("references: %d of the old store, %d of the new; want 0 and 1", a, b)
	}
	c.wantLog("deliveries stay behind")
	c.wantLog(`"unfinished":1`)
}

// A subscription that is taken out keeps its deliveries; somebody should know.
func TestSubscriptionThatIsGoneWithDeliveriesLeftIsAWarning(t *testing.T) {
	r := newReceiver(t)
	c := startCaddy(t)
	c.load(config{subscriptions: "[" + r.subscription("crm", `"paused": true`) + "]"})
	c.publish("order.paid")
	c.load(config{subscriptions: "[" + r.subscription("erp") + "]"})
	c.wantLog(`subscription \"crm\" is not in the configuration, and its unfinished deliveries (1) are held; put it back, or give them up: caddy relay drop crm`)
	gone := make(map[string]uint64)
	for i := range mostGone + 5 {
		gone[fmt.Sprintf("s%02d", i)] = 1
	}
	core, logs := observer.New(zap.WarnLevel)
	a := &App{logger: zap.New(core)}
	a.warnOfGone(gone)
	if n := logs.Len(); n != mostGone+1 || !strings.HasPrefix(logs.All()[mostGone].Message, "5 more subscriptions") {
		t.Errorf("%d records; the last is %q", n, logs.All()[n-1].Message)
	}
}

func TestRemovingTheOptionWarnsOfWhatStaysBehind(t *testing.T) {
	r := newReceiver(t)
	c := startCaddy(t)
	c.load(config{subscriptions: "[" + r.subscription("crm", `"paused": true`) + "]"})
	c.publish("order.paid")
	_, logging, _ := strings.Cut(c.json(config{}), `"logging"`)
	logging, _, _ = strings.Cut(logging, `"apps"`)
	if err := caddy.Load([]byte(`{"admin": {"disabled": true, "config": {"persist": false}}, "logging"`+logging+`"apps": {}}`), true); err != nil {
		t.Fatal(err)
	}
	if n := references(c.dir); n != 0 {
		t.Errorf("%d configurations have the store", n)
	}
	c.wantLog("deliveries stay behind")
}

func TestTwoWaysToWriteADirectoryAreOneStore(t *testing.T) {
	c := startCaddy(t)
	c.load(config{})
	before := c.engine()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(c.dir), link); err != nil {
		t.Skipf("needs symbolic links: %v", err)
	}
	c.load(config{dir: filepath.Join(link, "..", filepath.Base(link), "store")})
	if c.engine() != before {
		t.Error("the same directory was opened twice")
	}
}

func TestStoreThatCannotBeOpenedFailsTheLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := startCaddy(t)
	err := caddy.Load([]byte(c.json(config{dir: file})), true)
	if err == nil || !strings.Contains(err.Error(), "opening storage badger "+file) {
		t.Fatalf("loading: %v", err)
	}
	if n := references(file); n != 0 {
		t.Errorf("%d configurations have the store", n)
	}
}

func TestManyReloadsReleaseWhatTheyTake(t *testing.T) {
	r := newReceiver(t)
	c := startCaddy(t)
	c.load(config{})
	before := runtime.NumGoroutine()
	for range 20 {
		c.load(config{subscriptions: "[" + r.subscription("crm") + "]"})
		c.publish("order.paid")
	}
	r.want(t, 20)
	if n := references(c.dir); n != 1 {
		t.Errorf("%d configurations have the store; want 1", n)
	}
	r.CloseClientConnections()
	// A lane and the connections of the receiver's test server are new; twenty of
	// anything would be a leak.
	eventually(t, func() bool { return runtime.NumGoroutine() < before+15 }, func() string {
		return fmt.Sprintf("%d goroutines before, %d after", before, runtime.NumGoroutine())
	})
}

func TestCleanupWithoutStart(t *testing.T) {
	a := new(App)
	for range 2 {
		if err := a.Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
	a = &App{running: lifecycle{ready: make(chan struct{})}, logger: zap.NewNop()}
	if err := a.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Relay(context.Background()); !errors.Is(err, errNotStarted) {
		t.Errorf("waiting for an app that was cleaned up: %v", err)
	}
}

func TestRequestsWaitForTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &App{running: lifecycle{ready: make(chan struct{})}}
		begun := time.Now()
		if _, err := a.Relay(context.Background()); !errors.Is(err, errStarting) {
			t.Errorf("waiting for ever: %v", err)
		}
		if waited := time.Since(begun); waited != startPatience {
			t.Errorf("waited %s; want %s", waited, startPatience)
		}

		ctx, cancel := context.WithCancelCause(context.Background())
		gone := errors.New("the client went away")
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if _, err := a.Relay(ctx); !errors.Is(err, gone) {
			t.Errorf("waiting for a client that went away: %v", err)
		}

		failure := errors.New("no such disk")
		time.AfterFunc(time.Second, func() { a.running.settle(nil, failure) })
		if _, err := a.Relay(context.Background()); !errors.Is(err, failure) {
			t.Errorf("waiting for a start that failed: %v", err)
		}
	})
}
