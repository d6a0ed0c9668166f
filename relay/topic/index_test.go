package topic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func index(t testing.TB, sets ...string) *Index[string] {
	t.Helper()
	entries := make([]Entry[string], len(sets))
	for i, set := range sets {
		name, patterns, _ := strings.Cut(set, ": ")
		entries[i].Value = name
		for _, p := range strings.Fields(patterns) {
			entries[i].Patterns = append(entries[i].Patterns, mustParse(t, p))
		}
	}
	return NewIndex(entries)
}

func TestIndexKeepsOrderAndFindsEachOnce(t *testing.T) {
	x := index(
		t,
		"z: *",
		"y: order.* order.paid *.paid order.paid",
		"none:",
		"x: order.paid",
		"ops: relay.*",
		"w: ContentManagement.order.paid order.*",
	)
	for _, tt := range []struct{ typ, want string }{
		{"order.paid", "z y x w"},
		{"ContentManagement.Order.paid", "z y x w"},
		{"order", "z y w"},
		{"shop.paid", "z y"},
		{"other", "z"},
		{"relay.delivery.failed", "ops"},
		{"relay", "ops"},
		{"", ""},
	} {
		if got := strings.Join(x.Match(tt.typ, nil), " "); got != tt.want {
			t.Errorf("Match(%q) = %q; want %q", tt.typ, got, tt.want)
		}
	}
}

func TestIndexAppends(t *testing.T) {
	x := index(t, "a: order.*")
	if got := x.Match("order.paid", []string{"before"}); !slices.Equal(got, []string{"before", "a"}) {
		t.Errorf("got %q", got)
	}
	if got := index(t).Match("order.paid", nil); got != nil {
		t.Errorf("an empty index found %q", got)
	}
}

func TestIndexFindsMoreThanItsBuffers(t *testing.T) {
	var entries []Entry[int]
	for i := range 200 {
		pattern := []string{"*", "order.*", "*.paid", "order.paid"}[i%4]
		entries = append(entries, Entry[int]{[]Pattern{mustParse(t, pattern)}, i})
	}
	got := NewIndex(entries).Match("order.paid", nil)
	if len(got) != 200 || !slices.IsSorted(got) {
		t.Errorf("found %d, sorted: %v", len(got), slices.IsSorted(got))
	}
	long := "order." + strings.Repeat("x", 2*MaxPatternLength)
	if got := NewIndex(entries).Match(long, nil); len(got) != 100 {
		t.Errorf("found %d for a long type; want 100", len(got))
	}
}

// A matching event must not cost memory beyond what it finds.
func TestIndexDoesNotAllocate(t *testing.T) {
	x := index(t, "a: order.*", "b: *.publish", "c: relay.*", "d: user.*.failed order.paid")
	dst := make([]string, 0, 4)
	for _, typ := range []string{"order.paid", "Order.Paid", "ContentManagement.Entry.publish", "nothing.here", "relay.x"} {
		if n := testing.AllocsPerRun(100, func() { dst = x.Match(typ, dst[:0]) }); n != 0 {
			t.Errorf("Match(%q) allocates %v times", typ, n)
		}
	}
}

// words are few, so that random types and patterns meet, and hold all that is
// special.
var words = []string{"relay", "Relay", "ContentManagement", "contentmanagement", "a", "A", "b", "entry", "publish"}

func randomText(r *rand.Rand, words []string) string {
	segments := make([]string, 1+r.IntN(4))
	for i := range segments {
		segments[i] = words[r.IntN(len(words))]
	}
	return strings.Join(segments, ".")
}

func checkAgainstReference(t *testing.T, entries []Entry[int], x *Index[int], typ string) {
	t.Helper()
	var want []int
	for _, e := range entries {
		if slices.ContainsFunc(e.Patterns, func(p Pattern) bool { return p.Match(typ) }) {
			want = append(want, e.Value)
		}
	}
	if got := x.Match(typ, nil); !slices.Equal(got, want) {
		t.Fatalf("Match(%q) = %v; one by one the patterns of %v match\n%v", typ, got, want, entries)
	}
}

func TestIndexAgreesWithPatterns(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	patternWords := append(slices.Clone(words), "*", "*", "*", "*")
	for range 300 {
		entries := make([]Entry[int], r.IntN(12))
		for i := range entries {
			entries[i].Value = i
			for range r.IntN(4) {
				entries[i].Patterns = append(entries[i].Patterns, mustParse(t, randomText(r, patternWords)))
			}
		}
		x := NewIndex(entries)
		for range 100 {
			checkAgainstReference(t, entries, x, randomText(r, words))
		}
	}
}

func FuzzIndexAgreesWithPatterns(f *testing.F) {
	f.Add("order.* *.publish", "Order.paid")
	f.Add("* relay.*", "relay.delivery.failed")
	f.Add("ContentManagement.Entry.publish ContentManagement.*", "Entry.publish")
	f.Add("a..b .* *.*.x", "..")
	f.Add("\u212a.*", "k")
	f.Fuzz(func(t *testing.T, patterns, typ string) {
		var entries []Entry[int]
		for i, text := range strings.Split(patterns, " ") {
			p, err := Parse(text)
			if err != nil {
				continue
			}
			// What was taken is taken again as it prints, in any case.
			if q := mustParse(t, strings.ToUpper(p.String())); q.Match(typ) != p.Match(typ) {
				t.Fatalf("%q and %q differ on %q", p, q, typ)
			}
			entries = append(entries, Entry[int]{[]Pattern{p}, i})
		}
		checkAgainstReference(t, entries, NewIndex(entries), typ)
	})
}

// The cost of one match must not grow with the subscriptions that do not match.
func BenchmarkIndexMatch(b *testing.B) {
	for _, n := range []int{1, 1_000, 10_000} {
		entries := make([]Entry[int], n)
		for i := range entries {
			entries[i] = Entry[int]{
				[]Pattern{mustParse(b, fmt.Sprintf("order%d.*", i)), mustParse(b, fmt.Sprintf("*.paid%d", i))}, i,
			}
		}
		x := NewIndex(entries)
		for _, bb := range []struct{ name, typ string }{
			{"lower", fmt.Sprintf("order%d.item.added", n/2)},
			{"mixed", fmt.Sprintf("ContentManagement.Order%d.Paid", n/2)},
			{"none", "nothing.here"},
		} {
			b.Run(fmt.Sprintf("subscriptions=%d/%s", n, bb.name), func(b *testing.B) {
				var dst []int
				b.ReportAllocs()
				for b.Loop() {
					dst = x.Match(bb.typ, dst[:0])
				}
			})
		}
	}
}
