//go:build linux

package bench

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestBodiesAreValidAndCarryTheirNumber(t *testing.T) {
	for _, size := range []int{minSize, minSize + 1, 1024, maxSize} {
		body := newBody(size)
		for _, number := range []uint64{0, 1, 1<<40 + 12345} {
			setEvent(body, number)
			if len(body) != size || !json.Valid(body) {
				t.Errorf("size %d: %d bytes, which are no JSON: %.60s", size, len(body), body)
			}
			if got, ok := eventNumber(body); !ok || got != number {
				t.Errorf("size %d: read %d, %v; want %d", size, got, ok, number)
			}
		}
	}
}

// post delivers a body to the sink, as a request that was read from a connection.
func post(s *sink, path string, body []byte) {
	s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body))))
}

func TestSinkTellsDuplicatesAndStrangers(t *testing.T) {
	s := newSink()
	var address string
	if err := s.Listen(SinkOrder{Size: 64, Fanout: 2}, &address); err != nil {
		t.Fatal(err)
	}
	body := newBody(64)
	setEvent(body, pieceSize) // its deliveries lie in the third piece
	post(s, "/s/0", body)
	post(s, "/s/1", body)
	post(s, "/s/1", body)
	post(s, "/s/2", body)     // no such subscription
	post(s, "/s/0", body[1:]) // cut short
	var c Counts
	if err := s.Count(None{}, &c); err != nil {
		t.Fatal(err)
	}
	if c.Delivered != 2 || c.Duplicates != 1 || c.Foreign != 2 || c.Signed != 0 || c.FirstForeign == "" {
		t.Errorf("the sink saw %+v", c)
	}
	var arrivals []int64
	if err := s.Arrivals(2*pieceSize+2, &arrivals); err != nil {
		t.Fatal(err)
	}
	for i, at := range arrivals {
		if came := i >= 2*pieceSize; came != (at != 0) {
			t.Errorf("delivery %d: %d", i, at)
		}
	}
}

func TestLossAndDuplicatesFailTheRun(t *testing.T) {
	second := int64(time.Second)
	o := options{duration: time.Second, fanout: 2}
	relay, _ := systemNamed("relay")
	m := &measurement{o: &o, s: relay}
	posted := Posted{
		Start:   second,
		Begins:  []int64{second, second + 2, 0, second + 5, second + 10},
		Ends:    []int64{second + 1, second + 3, 0, 0, 2 * second},
		Refused: 1, FirstRefusal: "event 3: answered 503",
	}
	arrivals := []int64{second + 4, second + 4, second + 4, 0, 0, 0, 0, 0, 2 * second, 2*second - 1}
	f := &figures{System: relay.name, Round: 1}
	f.count(m, window{second, o.duration}, &posted, arrivals, &Counts{Delivered: 5, Duplicates: 1, Foreign: 1, Signed: 5})
	if f.Events != 3 || f.Deliveries != 5 || f.Lost != 1 {
		t.Errorf("%d events, %d deliveries, %d lost; want 3, 5, 1", f.Events, f.Deliveries, f.Lost)
	}
	// What ends when the window does is outside of it.
	if f.Accepted != 2 || f.Delivered != 4 {
		t.Errorf("%g accepted/s, %g delivered/s; want 2 and 4", f.Accepted, f.Delivered)
	}
	if len(f.DeliveredBySecond) != 1 || f.DeliveredBySecond[0] != 4 {
		t.Errorf("by second: %v; want 4", f.DeliveredBySecond)
	}
	all := strings.Join(f.Problems, "\n")
	for _, want := range []string{"503", "have not come", "more than once", "none of this run's", "no signature"} {
		if !strings.Contains(all, want) {
			t.Errorf("no problem says %q:\n%s", want, all)
		}
	}
}

func TestQuantilesAndSpread(t *testing.T) {
	durations := make([]int64, 1000)
	for i := range durations {
		durations[len(durations)-1-i] = int64(i+1) * int64(time.Millisecond)
	}
	l := newLatency(durations)
	if l.P50 != 500 || l.P90 != 900 || l.P99 != 990 || l.P999 != 999 || l.Max != 1000 {
		t.Errorf("of 1 to 1000 ms: %v", l)
	}
	n := 0
	for _, b := range l.Histogram {
		n += b.Count
	}
	if n != len(durations) || l.Histogram[len(l.Histogram)-1].UpTo < l.Max {
		t.Errorf("the histogram counts %d up to %g ms", n, l.Histogram[len(l.Histogram)-1].UpTo)
	}
	if got, want := spreadOf([]float64{3, 1, 2, 10}), (spread{Median: 2.5, Min: 1, Max: 10}); got != want {
		t.Errorf("spread %v; want %v", got, want)
	}
}

func TestCPUTimeIsThatOfTheKernel(t *testing.T) {
	clock := func() int64 {
		ns, err := cpuTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		return ns
	}
	usage := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	byClock, byUsage := clock(), usage()
	for until := time.Now().Add(200 * time.Millisecond); time.Now().Before(until); {
		newLatency([]int64{1, 2, 3}) // anything that takes time
	}
	byClock, byUsage = clock()-byClock, usage()-byUsage
	const near = int64(50 * time.Millisecond)
	if byClock <= 0 || byUsage <= 0 || byClock > byUsage+near || byUsage > byClock+near {
		t.Errorf("%s by the process's clock, %s by getrusage", time.Duration(byClock), time.Duration(byUsage))
	}
}

func TestPosterTakesAnswersApart(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(body)
		number, _ := eventNumber(body)
		switch number {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.Header().Set("Connection", "close")
		case 3:
			_ = http.NewResponseController(w).Flush() // chunked
			_, _ = w.Write(body)
			return
		}
		_, _ = w.Write([]byte(strings.Repeat("answer", 100)))
	}))
	defer server.Close()
	p, err := newRawPoster(&LoadOrder{Size: 100, Address: server.Listener.Addr().String(), Status: http.StatusOK, Length: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	for number, want := range []string{"", "503", "", "Content-Length", "", ""} {
		setEvent(p.bodies()[0], uint64(number))
		err := p.post(uint64(number))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("event %d: %v; want %q", number, err, want)
		}
	}
}
