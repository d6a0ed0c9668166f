package caddymodule

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/caddyrelay/caddyrelay/caddymodule/console"
)

// metricNames are those that the code describes.
func metricNames(t *testing.T) []string {
	t.Helper()
	descriptions := make(chan *prometheus.Desc, 100)
	for _, c := range append(metrics.all(), new(gauges)) {
		c.Describe(descriptions)
	}
	close(descriptions)
	fullName := regexp.MustCompile(`fqName: "([^"]+)"`)
	var names []string
	for d := range descriptions {
		names = append(names, fullName.FindStringSubmatch(d.String())[1])
	}
	if len(names) == 0 {
		t.Fatal("there are no metrics")
	}
	return names
}

// scraped are the relay's samples in the registry of the active configuration, by name and
// labels. Of a histogram it is the count.
func scraped(t *testing.T) map[string]float64 {
	t.Helper()
	ctx := caddy.ActiveContext()
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := make(map[string]float64)
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "caddy_relay_") {
			continue
		}
		for _, m := range family.GetMetric() {
			samples[family.GetName()+labelsOf(m)] = valueOf(m)
		}
	}
	return samples
}

func labelsOf(m *dto.Metric) string {
	var pairs []string
	for _, l := range m.GetLabel() {
		pairs = append(pairs, l.GetName()+"="+l.GetValue())
	}
	if pairs == nil {
		return ""
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

func valueOf(m *dto.Metric) float64 {
	switch {
	case m.GetHistogram() != nil:
		return float64(m.GetHistogram().GetSampleCount())
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	default:
		return m.GetGauge().GetValue()
	}
}

// The names of subscriptions are those of one test alone, since other tests leave series
// behind: they provision, and do not clean up.

// seriesOf returns the samples that name a subscription, sorted.
func seriesOf(t *testing.T, subscription string) []string {
	t.Helper()
	names := slices.Sorted(maps.Keys(scraped(t)))
	return slices.DeleteFunc(names, func(name string) bool { return !strings.Contains(name, "subscription="+subscription) })
}

func TestMetricsPassTheLinter(t *testing.T) {
	c := startCaddy(t)
	r := newReceiver(t)
	c.load(config{
		regions:       `[{"name": "eu", "egress": [{"address": "127.0.0.2"}]}]`,
		subscriptions: "[" + r.subscription("crm", `"region": "eu", "wait_for": {"url": "`+r.URL+`", "until": "response.status == 200"}`) + "]",
	})
	c.publish("order.paid")
	r.want(t, 2) // a poll, and the delivery
	names := metricNames(t)
	ctx := caddy.ActiveContext()
	problems, err := testutil.GatherAndLint(ctx.GetMetricsRegistry(), names...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families := make(map[string]bool)
	for name := range scraped(t) {
		family, _, _ := strings.Cut(name, "{")
		families[family] = true
	}
	for _, name := range names {
		if !families[name] {
			t.Errorf("%s is not there while the relay runs", name)
		}
	}
}

// Labels come from the configuration, or from lists that the documentation shows in full.
func TestLabelsAreBounded(t *testing.T) {
	c := startCaddy(t)
	sick := newReceiver(t)
	sick.status.Store(500)
	c.load(config{subscriptions: "[" + sick.subscription("bounded", `"retry": {"off": true}`) + "]"})
	for _, typ := range []string{"one", "two", "three"} {
		c.publish(typ)
	}
	sick.want(t, 3)
	c.wantSample(`caddy_relay_deliveries_total{result=failed,subscription=bounded}`, 3)
	known := []string{"address", "error_kind", "operation", "outcome", "part", "reason", "region", "result", "state", "subscription"}
	label := regexp.MustCompile(`[{,](\w+)=([^,}]*)`)
	for name := range scraped(t) {
		for _, found := range label.FindAllStringSubmatch(name, -1) {
			if !slices.Contains(known, found[1]) {
				t.Errorf("%s has the label %s", name, found[1])
			}
			for _, unbounded := range []string{"evt_", "http", "answered", "127.0.0.1", "two"} {
				if strings.Contains(found[2], unbounded) {
					t.Errorf("%s has the value %q", name, found[2])
				}
			}
		}
	}
}

func (c *running) wantSample(name string, want float64) {
	c.t.Helper()
	eventually(c.t, func() bool { return scraped(c.t)[name] == want }, func() string {
		return name + " is not as it should be"
	})
}

func TestSubscriptionThatIsTakenOutLosesItsSeries(t *testing.T) {
	stays, goes := newReceiver(t), newReceiver(t)
	goes.hold = make(chan struct{})
	goes.status.Store(500)
	c := startCaddy(t)
	both := "[" + stays.subscription("stays") + "," + goes.subscription("goes", `"retry": {"off": true}`) + "]"
	c.load(config{subscriptions: both})
	c.publish("order.paid")
	<-goes.came
	if len(seriesOf(t, "goes")) == 0 {
		t.Fatal("a subscription has no series")
	}
	c.load(config{subscriptions: "[" + stays.subscription("stays") + "]"})

	// An attempt that ends under the configuration of before does not bring them back.
	close(goes.hold)
	eventually(t, func() bool { return len(seriesOf(t, "goes")) == 0 }, func() string {
		return "series of a subscription that is gone: " + strings.Join(seriesOf(t, "goes"), "\n")
	})
	c.wantSample(`caddy_relay_deliveries_total{result=delivered,subscription=stays}`, 1)

	c.load(config{subscriptions: both})
	c.wantSample(`caddy_relay_deliveries_total{result=failed,subscription=goes}`, 0)
	c.publish("order.paid")
	c.wantSample(`caddy_relay_deliveries_total{result=failed,subscription=goes}`, 1)
	c.wantSample(`caddy_relay_deliveries_total{result=delivered,subscription=stays}`, 2)
}

func TestRefusedConfigurationLeavesNoSeries(t *testing.T) {
	r := newReceiver(t)
	c := startCaddy(t)
	c.load(config{subscriptions: "[" + r.subscription("remains") + "]"})
	c.publish("order.paid")
	c.wantSample(`caddy_relay_deliveries_total{result=delivered,subscription=remains}`, 1) // and so all that it counts
	before := seriesOf(t, "remains")
	for _, refused := range []config{
		{subscriptions: "[" + r.subscription("remains") + "," + r.subscription("never") + `]`, apps: `, "relay_test_failing": {}`},
		{subscriptions: "[" + r.subscription("never") + `, {"name": "remains", "url": "https://10.0.0.1/"}]`},
	} {
		if err := caddy.Load([]byte(c.json(refused)), true); err == nil {
			t.Fatal("the configuration was loaded")
		}
		if left := seriesOf(t, "never"); len(left) > 0 {
			t.Errorf("series of a configuration that was refused: %s", left)
		}
	}
	if after := seriesOf(t, "remains"); !slices.Equal(before, after) {
		t.Errorf("the series were %s and are %s", before, after)
	}
	c.wantSample(`caddy_relay_deliveries_total{result=delivered,subscription=remains}`, 1)
}

// A configuration that is refused takes no charts away from the one that runs on.
func TestRefusedConfigurationLeavesTheCharts(t *testing.T) {
	r := newReceiver(t)
	c := startCaddy(t)
	shop := []string{"shop"}
	history := func() *console.Series {
		defer consoleHistory.Release(shop)
		return consoleHistory.Hold(shop)["shop"]
	}
	c.load(config{subscriptions: "[" + r.subscription("crm") + "," + r.subscription("shop") + "]"})
	before := history()
	refused := config{subscriptions: "[" + r.subscription("crm") + "]", apps: `, "relay_test_failing": {}`}
	if err := caddy.Load([]byte(c.json(refused)), true); err == nil {
		t.Fatal("the configuration was loaded")
	}
	if history() != before {
		t.Error("the history of a subscription is gone")
	}
	c.load(config{subscriptions: "[" + r.subscription("crm") + "]"})
	if history() == before {
		t.Error("the history of a subscription stays that was taken out")
	}
}

func TestManyReloadsRegisterNothingTwice(t *testing.T) {
	r := newReceiver(t)
	c := startCaddy(t)
	for n := range 5 {
		c.load(config{subscriptions: "[" + r.subscription("reloaded") + "]"})
		c.publish("order.paid")
		c.wantSample(`caddy_relay_deliveries_total{result=delivered,subscription=reloaded}`, float64(n+1))
	}
	if n := metrics.named.count["reloaded"]; n != 1 {
		t.Errorf("%d configurations hold the series; want 1", n)
	}
}

// Every metric is documented, and every one that is documented exists.
func TestDocumentedMetrics(t *testing.T) {
	names := metricNames(t)
	operations := docPage(t, "operations")
	for _, name := range names {
		if !strings.Contains(operations, "\n| `"+name+"` |") {
			t.Errorf("operations.md has no row of %s", name)
		}
	}
	for _, page := range documentation(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range unknownMetrics(string(text), names) {
			t.Errorf("%s: there is no metric %s", page, name)
		}
	}
}

var metricName = regexp.MustCompile(`\bcaddy_relay_[a-z_]+[a-z]\b`)

// unknownMetrics returns the names in a text that no metric has.
func unknownMetrics(text string, names []string) []string {
	var unknown []string
	for _, name := range metricName.FindAllString(text, -1) {
		family := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			family = strings.TrimSuffix(family, suffix)
		}
		if !slices.Contains(names, family) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}
