package storagetest_test

import (
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

func TestCluster(t *testing.T) {
	storagetest.RunShared(t, func(*testing.T) storagetest.SharedHarness {
		cluster := storagetest.NewCluster(time.Now)
		return storagetest.SharedHarness{
			Open:   func(*testing.T) relay.Shared { return cluster.Open() },
			Freeze: func(_ *testing.T, s relay.Shared) { s.(*storagetest.ClusterStore).Freeze() },
			Lapse:  func(_ *testing.T, s relay.Shared) { s.(*storagetest.ClusterStore).Lapse() },
			Thaw:   func(_ *testing.T, s relay.Shared) { s.(*storagetest.ClusterStore).Thaw() },
		}
	})
}

// One that is cut off differs from a frozen one only in that its calls end at once.
func TestClusterCutOff(t *testing.T) {
	storagetest.RunShared(t, func(*testing.T) storagetest.SharedHarness {
		cluster := storagetest.NewCluster(time.Now)
		return storagetest.SharedHarness{
			Open:   func(*testing.T) relay.Shared { return cluster.Open() },
			Freeze: func(_ *testing.T, s relay.Shared) { s.(*storagetest.ClusterStore).CutOff() },
			Lapse:  func(_ *testing.T, s relay.Shared) { s.(*storagetest.ClusterStore).Lapse() },
			Thaw:   func(_ *testing.T, s relay.Shared) { s.(*storagetest.ClusterStore).Thaw() },
		}
	})
}

// For its only user a store of a cluster is like any other.
func TestClusterOfOne(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Harness {
		clock := storagetest.NewClock(storagetest.Start)
		cluster := storagetest.NewCluster(clock.Now)
		store := cluster.Open()
		t.Cleanup(func() { _ = store.Close() })
		if err := store.Join(t.Context(), nobody{}); err != nil {
			t.Fatal(err)
		}
		return storagetest.Harness{
			Store: store, Clock: clock,
			Reopen: func(t *testing.T) relay.Store {
				_ = store.Close()
				store = cluster.Open()
				if err := store.Join(t.Context(), nobody{}); err != nil {
					t.Fatal(err)
				}
				return store
			},
		}
	})
}

// nobody is a member that carries nothing.
type nobody struct{ relay.Member }

func (nobody) Learn([]relay.Progress) {}
