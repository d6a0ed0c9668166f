// Package shard says which of several relays should make the deliveries of a subscription.
//
// Subscriptions are divided into shards by their names, and the shards of a region among the
// relays that offer it. All relays come to the same result, since it depends on nothing but
// what they all know: the number of shards, and who is there.
package shard

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
)

// Default is the number of shards where none is given; Most is the largest that can be.
const (
	Default = 16
	Most    = 1024
)

// Check says why there cannot be n shards, or returns nil.
func Check(n int) error {
	if n < 1 || n > Most {
		return fmt.Errorf("%d shards are not possible: write 1 to %d, e.g. %d", n, Most, Default)
	}
	return nil
}

// Of returns the shard of a subscription: 0 to n-1.
func Of(subscription string, n int) int {
	return int(weigh(subscription, "", 0) % uint64(n))
}

// Assign says for each of the n shards of a region which member should have it: an index
// into members, whose order does not matter; nil if there are none.
//
// No member gets more than its share, rounded up. A shard goes to the first member of its
// own order of them that has room (rendezvous hashing with bounded loads), so that few
// shards move when a member comes or goes.
func Assign(region string, n int, members []string) []int {
	if len(members) == 0 {
		return nil
	}
	share := (n + len(members) - 1) / len(members)
	assigned, loads := make([]int, n), make([]int, len(members))
	order, weights := make([]int, len(members)), make([]uint64, len(members))
	for s := range assigned {
		for i, m := range members {
			order[i], weights[i] = i, weigh(m, region, s)
		}
		slices.SortFunc(order, func(a, b int) int {
			return cmp.Or(cmp.Compare(weights[b], weights[a]), cmp.Compare(members[a], members[b]))
		})
		for _, i := range order {
			if loads[i] < share {
				assigned[s], loads[i] = i, loads[i]+1
				break
			}
		}
	}
	return assigned
}

// weigh is a digest of a name within a shard of a region.
func weigh(name, region string, shard int) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s\x00%s\x00%d", name, region, shard)
	x := h.Sum64()
	// FNV alone leaves what differs at the end too alike: the last step of SplitMix64.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
