//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// relayCounts are the numbers of relays of -relays. It implements [flag.Value].
type relayCounts []int

const (
	maxRelays = 16
	// relaySubscriptions is how many subscriptions relays share among them, each with events
	// of its own: some for each of the shards that there are by default.
	relaySubscriptions = 64
	relaysPrefix       = "relays-"
	// sharedFor is how long relays must have shared the work before the load begins.
	sharedFor = time.Second
)

// String implements [flag.Value].
func (r *relayCounts) String() string { return strings.Trim(fmt.Sprint([]int(*r)), "[]") }

// Set implements [flag.Value].
func (r *relayCounts) Set(text string) error {
	*r = nil
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 || n > maxRelays {
			return fmt.Errorf("%q is no number from 1 to %d", word, maxRelays)
		}
		*r = append(*r, n)
	}
	return nil
}

// systems names those of so many relays each.
func (r relayCounts) systems() string {
	names := make([]string, len(r))
	for i, n := range r {
		names[i] = relaysPrefix + strconv.Itoa(n)
	}
	return strings.Join(names, ",")
}

// severalRelays returns the system of so many relays on one database.
func severalRelays(name string) (system, bool) {
	number, ok := strings.CutPrefix(name, relaysPrefix)
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 1 || n > maxRelays {
		return system{}, false
	}
	return system{name: name, kind: kindRelay, postgres: true, relays: n}, true
}

// writeShared writes the subscriptions that relays share.
func (s system) writeShared(b *strings.Builder, c site) {
	for i := range relaySubscriptions {
		fmt.Fprintf(b, "\t\tsubscription s%d %s://%s%s0 %s.* {\n\t\t\tsign standard %s\n\t\t\tallow_ips 127.0.0.0/8\n\t\t\tmax_in_flight %d\n\t\t}\n",
			i, c.tls.scheme(), c.sink, subscriptionPath, sharedType(i), c.secret, maxInFlight)
	}
}

// sharedType begins the type of the events of one of the subscriptions.
func sharedType(i int) string { return "bench" + strconv.Itoa(i) }

// of returns the order of one of the posters, where there are several relays: each
// posts to one of them, and for one subscription.
func (o *LoadOrder) of(poster int) *LoadOrder {
	one := *o
	if len(o.Addresses) > 0 {
		one.Address = o.Addresses[poster%len(o.Addresses)]
		one.Type = sharedType(poster%relaySubscriptions) + ".posted"
	}
	return &one
}

// startRelays starts the further relays of a run, and waits until all of them share the work.
func (m *measurement) startRelays(ctx context.Context, c site, folder string) error {
	for i := 1; i < m.s.relays; i++ {
		folder := filepath.Join(folder, strconv.Itoa(i))
		if err := os.Mkdir(folder, 0o700); err != nil {
			return err
		}
		p, err := startCaddy(ctx, m.o, m.s, c, folder)
		if err != nil {
			return err
		}
		m.further = append(m.further, p)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, errors.New("the relays do not come to share the work"))
	defer cancel()
	for since := time.Now(); time.Since(since) < sharedFor; {
		ok, err := m.shared(ctx)
		if err != nil {
			return err
		}
		if !ok {
			since = time.Now()
		}
		if err := pause(ctx, startPoll); err != nil {
			return err
		}
	}
	return nil
}

// shared reports whether each subscription is carried, and each relay carries some.
func (m *measurement) shared(ctx context.Context) (bool, error) {
	var status struct {
		Instances []struct{ Subscriptions int }
	}
	text, err := m.caddy.ask(ctx, "/relay/status")
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return false, fmt.Errorf("reading the status: %w", err)
	}
	carried := 0
	for _, i := range status.Instances {
		if carried += i.Subscriptions; i.Subscriptions == 0 {
			return false, nil
		}
	}
	return len(status.Instances) == m.s.relays && carried == relaySubscriptions, nil
}

// ask returns what a Caddy's admin API answers.
func (p *caddyProcess) ask(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1"+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := p.admin.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking %s for %s: %w", p.name, path, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("asking %s for %s: %s: %s", p.name, path, answer.Status, bytes.TrimSpace(text))
	}
	return text, err
}

// relays are all Caddys of a run.
func (m *measurement) relays() []*caddyProcess { return append([]*caddyProcess{m.caddy}, m.further...) }

// made returns how many deliveries each relay has made.
func (m *measurement) made(ctx context.Context) ([]float64, error) {
	counts := make([]float64, 0, m.s.relays)
	for _, p := range m.relays() {
		text, err := p.ask(ctx, "/metrics")
		if err != nil {
			return nil, err
		}
		total := 0.0
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			rest, ok := strings.CutPrefix(lines.Text(), `caddy_relay_deliveries_total{result="delivered",`)
			if _, value, has := strings.Cut(rest, "} "); ok && has {
				n, err := strconv.ParseFloat(value, 64)
				if err != nil {
					return nil, fmt.Errorf("reading the metrics: %w", err)
				}
				total += n
			}
		}
		counts = append(counts, total)
	}
	return counts, nil
}

// share fills in what each relay and each subscription had of the work.
func (f *figures) share(w window, posted *Posted, arrivals []int64, posters int, made []float64) {
	total := 0.0
	for _, n := range made {
		total += n
	}
	for _, n := range made {
		f.Shares = append(f.Shares, n/max(total, 1))
	}
	accepted, delivered := make([]float64, relaySubscriptions), make([]float64, relaySubscriptions)
	to := w.from + int64(w.length)
	for event, end := range posted.Ends {
		i := event % posters % relaySubscriptions
		if w.from <= end && end < to {
			accepted[i]++
		}
		if at := arrivals[event]; at != 0 && w.from <= at && at < to {
			delivered[i]++
		}
	}
	f.LeastServed = 1
	for i, n := range accepted {
		if n > 0 {
			f.LeastServed = min(f.LeastServed, delivered[i]/n)
		}
	}
	if f.LeastServed == 0 {
		f.problem("a subscription got nothing within the window, though events for it were accepted")
	}
	if slices.Min(made) == 0 {
		f.problem("a relay has made no delivery: %v", made)
	}
}

// relayRatios compare each number of relays with the first.
func relayRatios(counts relayCounts) (all []*ratio) {
	names := strings.Split(counts.systems(), ",")
	for _, name := range names[1:] {
		all = append(all,
			newRatio(name, names[0], "delivered_per_second", "delivered/s", ""),
			newRatio(name, names[0], "all_cpu_us_per_event", "CPU per event, server included", ""))
	}
	return all
}
