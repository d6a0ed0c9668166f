package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/egress"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// Each relay tells of all that share its storage, and of what none of them can deliver.
func TestStatusTellsOfAllInstances(t *testing.T) {
	cluster := storagetest.NewCluster(time.Now)
	region, err := egress.NewRegion("eu", []egress.Address{{Addr: netip.MustParseAddr("192.0.2.77")}}) // of the documentation
	if err != nil {
		t.Fatal(err)
	}
	var engines []*relay.Relay
	for range 2 {
		r, err := relay.Open(t.Context(), cluster.Open(), relay.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		to := &url.URL{Scheme: "https", Host: "example.com"}
		plan, err := relay.NewPlan(relay.PlanOptions{
			Regions: []*egress.Region{region},
			Subscriptions: []*relay.Subscription{
				{Name: "crm", URL: to, Transport: http.DefaultTransport},
				{Name: "far", URL: to, Transport: http.DefaultTransport, Region: "eu"},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Attach(plan)
		engines = append(engines, r)
	}
	for end := time.Now().Add(30 * time.Second); cluster.Owner("crm") == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody carries it")
		}
	}
	var ids []string
	for _, engine := range engines {
		answer := httptest.NewRecorder()
		a := &App{}
		if err := adminStatus(answer, httptest.NewRequest(http.MethodGet, "/relay/status", nil), a, engine); err != nil {
			t.Fatal(err)
		}
		var s status
		if err := json.Unmarshal(answer.Body.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		if len(s.Instances) != 2 || s.Instances[0].Subscriptions+s.Instances[1].Subscriptions != 1 ||
			len(s.Instances[0].Shards)+len(s.Instances[1].Shards) != 1 || s.Instances[0].Seen.IsZero() {
			t.Errorf("%+v", s.Instances)
		}
		ids = append(ids, s.Instances[0].ID)
		far := s.Subscriptions[slices.IndexFunc(s.Subscriptions, func(s subscriptionStatus) bool { return s.Name == "far" })]
		if far.State != relay.SubscriptionActive || far.Reason != relay.ReasonNoInstance || !strings.Contains(far.Detail, `region "eu"`) {
			t.Errorf("%+v", far)
		}
		if !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, `"far"`) && strings.Contains(w, "held") }) {
			t.Errorf("%q", s.Warnings)
		}
		for _, field := range []string{`"regions":[]`, `"shards":[`, `"seen":"2`} {
			if !strings.Contains(answer.Body.String(), field) {
				t.Errorf("%s has no %s", answer.Body, field)
			}
		}
		d := new(doctor)
		d.instances(s.Instances)
		d.subscription(&far)
		if len(d.findings) != 2 || !strings.Contains(d.findings[0].Detail, "2 on this storage") || d.findings[1].Grade != gradeFail {
			t.Errorf("%+v", d.findings)
		}
	}
	if ids[0] == ids[1] {
		t.Errorf("both say that they are %s", ids[0])
	}
}

// Where the storage has one user there is nothing to tell.
func TestStatusWithoutOthers(t *testing.T) {
	engine, err := relay.Open(t.Context(), storagetest.NewMemory(time.Now), relay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	answer := httptest.NewRecorder()
	if err := adminStatus(answer, httptest.NewRequest(http.MethodGet, "/relay/status", nil), &App{}, engine); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(answer.Body.String(), `"instances":[]`) {
		t.Error(answer.Body)
	}
	d := new(doctor)
	if d.instances(nil); len(d.findings) != 0 {
		t.Errorf("%+v", d.findings)
	}
}
