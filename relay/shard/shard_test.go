package shard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func members(r *rand.Rand, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("web%d-%d-%04x", i, 1000+r.IntN(30000), r.IntN(1<<16))
	}
	return all
}

// TestShardsOfNamesStay: a change here would move all subscriptions of running relays, and
// relays of two versions would not agree.
func TestShardsOfNamesStay(t *testing.T) {
	for name, want := range map[string]int{"crm": 0, "search": 5, "cdn": 2, "": 0} {
		if got := Of(name, Default); got != want {
			t.Errorf("%q is in shard %d, want %d", name, got, want)
		}
	}
	assigned := Assign("eu", 8, []string{"a", "b", "c"})
	if want := []int{0, 2, 2, 1, 1, 1, 0, 0}; !slices.Equal(assigned, want) {
		t.Errorf("assigned %v, want %v", assigned, want)
	}
}

func TestNamesSpread(t *testing.T) {
	for _, n := range []int{1, 2, 16, 100, Most} {
		counts := make([]int, n)
		for i := range 100 * n {
			counts[Of(fmt.Sprintf("subscription-%d", i), n)]++
		}
		for s, count := range counts {
			if count < 40 || count > 180 {
				t.Errorf("of %d shards number %d has %d names; 100 would be even", n, s, count)
			}
		}
	}
}

// TestAllAgree: the order in which members are known does not matter.
func TestAllAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n, all := 1+r.IntN(64), members(r, 1+r.IntN(9))
		first := Assign("eu", n, all)
		shuffled := slices.Clone(all)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		second := Assign("eu", n, shuffled)
		for s := range n {
			if all[first[s]] != shuffled[second[s]] {
				t.Fatalf("shard %d of %d is of %s, and of %s where the members are told in another order", s, n, all[first[s]], shuffled[second[s]])
			}
		}
	}
}

// TestNobodyHasMoreThanItsShare, and with enough shards nobody has none.
func TestNobodyHasMoreThanItsShare(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		n, count := 1+r.IntN(64), 1+r.IntN(9)
		loads := make([]int, count)
		for _, m := range Assign("", n, members(r, count)) {
			loads[m]++
		}
		if share := (n + count - 1) / count; slices.Max(loads) > share {
			t.Fatalf("%d shards, %d members: %v; a share is %d", n, count, loads, share)
		}
	}
	if Assign("eu", 16, nil) != nil {
		t.Error("shards are assigned to nobody")
	}
}

// TestFewShardsMove when a member comes or goes: hardly more than those that have to.
func TestFewShardsMove(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const n = 64
	for count := 2; count <= 8; count++ {
		moved, rounds := 0, 200
		for range rounds {
			all := members(r, count)
			before, after := Assign("eu", n, all), Assign("eu", n, all[:count-1])
			for s := range n {
				if before[s] != after[s] {
					moved++
				}
			}
		}
		have := float64(n) / float64(count)
		if got := float64(moved) / float64(rounds); got > 1.7*have {
			t.Errorf("%d members, one goes: %.1f of %d shards move, it had %.1f", count, got, n, have)
		}
	}
}

// TestRegionsDiffer: whoever has the first shard of one region need not have it of another.
func TestRegionsDiffer(t *testing.T) {
	all := []string{"a", "b", "c"}
	if slices.Equal(Assign("eu", 32, all), Assign("us", 32, all)) {
		t.Error("two regions are divided alike")
	}
}

func TestCheck(t *testing.T) {
	for n, ok := range map[int]bool{-1: false, 0: false, 1: true, 16: true, 1024: true, 1025: false} {
		if err := Check(n); (err == nil) != ok {
			t.Errorf("%d shards: %v", n, err)
		}
	}
}
