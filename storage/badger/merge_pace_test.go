package badger

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"golang.org/x/time/rate"
)

// TestMergingIsSpreadOverTime, but for who waits for it.
func TestMergingIsSpreadOverTime(t *testing.T) {
	const parts, each, table = 5, 40, time.Second / mergedPerSecond
	spread := table * (parts*each - 1)
	for name, c := range map[string]struct {
		newTables  int
		times      int // as many tables; 0: once
		opening    bool
		hurriedFor time.Duration
		want       time.Duration
	}{
		"as usual":               {newTables: newTables, want: spread},
		"for long":               {newTables: newTables, times: 3, want: spreadFor + table*(parts-1)},
		"the writer is faster":   {newTables: newTablesInTime},
		"the database opens":     {newTables: newTables, opening: true},
		"somebody waits":         {newTables: newTables, hurriedFor: time.Hour},
		"somebody waits a while": {newTables: newTables, hurriedFor: time.Second, want: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newMergePace()
				if !c.opening {
					p.spread(func() int { return c.newTables })
				}
				if c.hurriedFor == time.Second { // it comes while they wait, and twice
					time.AfterFunc(time.Second, func() { p.hurry(); p.hurry()() })
				} else if c.hurriedFor > 0 {
					defer p.hurry()()
				}
				for range 2 {
					began := time.Now()
					var all sync.WaitGroup
					for range parts {
						all.Go(func() {
							for range each * max(c.times, 1) {
								p.wait()
							}
						})
					}
					all.Wait()
					if took := time.Since(began); took != c.want {
						t.Errorf("it took %s, want %s", took, c.want)
					}
					if c.hurriedFor > 0 {
						return
					}
					time.Sleep(time.Minute) // and the next one
				}
			})
		})
	}
}

// TestNobodyWaitsForMergingThatIsSpread: room is given back, and a store is closed, as fast as
// that goes.
func TestNobodyWaitsForMergingThatIsSpread(t *testing.T) {
	for name, act := range map[string]func(s *Store) error{
		"close": (*Store).Close,
		"reclaim": func(s *Store) error {
			if !s.reclaim() {
				return errors.New("no room was given back")
			}
			return nil
		},
		"flatten": func(s *Store) error { s.flatten(); return nil }, // it goes on in the background
	} {
		t.Run(name, func(t *testing.T) {
			s := mergingSlowly(t)
			d := s.db.Load()
			defer func() { d.hurry() }() // else the end of a failed test waits, too
			done := make(chan error, 1)
			go func() { done <- act(s) }()
			eventually(t, "what is merged in hours is merged", func() bool { return len(done) > 0 && !s.flattening.Load() })
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// mergingSlowly returns a store that is merging tables, of which it writes one an hour.
func mergingSlowly(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o := Options{rest: true}
	o.setDefaults()
	for range newTables {
		db, err := bdb.Open(badgerOptions(dir, &o))
		if err == nil {
			err = db.Update(func(txn *bdb.Txn) error { return txn.Set([]byte{scratchPrefix}, []byte("1")) })
		}
		if err == nil {
			err = db.Close() // it writes a table
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s = openAt(t, dir, nil)
	limiter := s.db.Load().merges.pace.limiter
	limiter.SetLimit(rate.Every(time.Hour))
	limiter.Allow()
	eventually(t, "a merging waits", func() bool { return limiter.Tokens() < -0.5 })
	return s
}
