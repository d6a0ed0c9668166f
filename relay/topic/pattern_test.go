package topic

import (
	"strings"
	"testing"
)

func mustParse(t testing.TB, pattern string) Pattern {
	t.Helper()
	p, err := Parse(pattern)
	if err != nil {
		t.Fatalf("Parse(%q): %v", pattern, err)
	}
	return p
}

func TestPatternMatchesWhatItPromises(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		{
			"order.paid",
			[]string{"order.paid", "Order.PAID"},
			[]string{"order", "order.paid.twice", "order.unpaid", "shop.order.paid", "orders.paid", ""},
		},
		{
			"order.*",
			[]string{"order", "order.paid", "order.a.b", "ORDER.Paid"},
			[]string{"orders", "orders.paid", "shop.order", "shop.order.paid"},
		},
		{
			"order.item.*",
			[]string{"order.item", "order.item.added", "order.item.a.b"},
			[]string{"order", "order.paid"},
		},
		{
			"*.publish",
			[]string{"Entry.publish", "asset.publish", "ContentManagement.Entry.publish", "ContentManagement.publish"},
			[]string{"publish", "Entry.publish.now", "shop.Entry.publish", "Entry.unpublish", "relay.publish"},
		},
		{
			"Entry.*",
			[]string{"Entry", "entry.publish", "ContentManagement.Entry.publish", "contentmanagement.ENTRY", "Entry.a.b"},
			[]string{"EntryTitle.publish", "ContentManagement", "ContentManagement.Asset.publish"},
		},
		{
			"*.*.x",
			[]string{"a.b.x", "A.B.X", "ContentManagement.b.x", "ContentManagement.a.b.x"},
			[]string{"a.x", "x", "a.b.c.x", "a.b.y", "relay.b.x"},
		},
		{
			"a.*.c",
			[]string{"a.b.c", "ContentManagement.a.b.c"},
			[]string{"a.c", "a.b.b.c", "a.b", "a.b.c.d"},
		},
		{
			"*.*",
			[]string{"order", "order.paid", "a.b.c"},
			[]string{"relay.delivery.failed", "relay"},
		},
		{
			"*",
			[]string{"order", "order.paid", "a.b.c", "ContentManagement.Entry.publish", "relays.moved", "shop.relay.moved"},
			[]string{"relay.delivery.failed", "Relay.egress.scheduled", "relay", ""},
		},
		{
			"relay.*",
			[]string{"relay.delivery.failed", "RELAY.egress.changed", "relay"},
			[]string{"order.paid", "relays.moved", "ContentManagement.relay.delivery.failed"},
		},
		{
			"relay.*.failed",
			[]string{"relay.delivery.failed"},
			[]string{"relay.subscription.disabled", "shop.delivery.failed"},
		},
		{
			"*.delivery.failed",
			[]string{"shop.delivery.failed"},
			[]string{"relay.delivery.failed"},
		},

		// The prefix that may be left out, in the pattern as in the type.
		{
			"Entry.publish",
			[]string{"ContentManagement.Entry.publish", "contentmanagement.entry.publish", "Entry.publish"},
			[]string{"ContentManagement.ContentManagement.Entry.publish", "Other.Entry.publish"},
		},
		{
			"ContentManagement.Entry.publish",
			[]string{"ContentManagement.Entry.publish", "Entry.publish", "entry.PUBLISH"},
			[]string{"ContentManagement.Entry", "publish"},
		},
		{
			"contentManagement.Entry.*",
			[]string{"Entry.publish", "Entry", "ContentManagement.Entry.save"},
			[]string{"Asset.publish", "order.paid"},
		},
		{
			"ContentManagement.Entry.*.x",
			[]string{"ContentManagement.Entry.a.x", "Entry.a.x"},
			[]string{"a.x"},
		},
		// Where no name follows it the prefix stands as written.
		{
			"ContentManagement.*",
			[]string{"ContentManagement", "ContentManagement.Entry.publish"},
			[]string{"Entry.publish", "order.paid"},
		},
		{
			"ContentManagement.*.publish",
			[]string{"ContentManagement.Entry.publish"},
			[]string{"order.publish", "ContentManagement.publish"},
		},
		// It is no way around the reserved prefix.
		{
			"ContentManagement.relay.*",
			[]string{"ContentManagement.relay.delivery.failed"},
			[]string{"relay.delivery.failed"},
		},
	} {
		p := mustParse(t, tt.pattern)
		if p.String() != tt.pattern {
			t.Errorf("String() of %q is %q", tt.pattern, p)
		}
		x := NewIndex([]Entry[string]{{[]Pattern{p}, "it"}})
		for _, typ := range tt.yes {
			if !p.Match(typ) {
				t.Errorf("%q does not match %q", tt.pattern, typ)
			}
			if len(x.Match(typ, nil)) != 1 {
				t.Errorf("%q does not find %q in an index", tt.pattern, typ)
			}
		}
		for _, typ := range tt.no {
			if p.Match(typ) {
				t.Errorf("%q matches %q", tt.pattern, typ)
			}
			if len(x.Match(typ, nil)) != 0 {
				t.Errorf("%q finds %q in an index", tt.pattern, typ)
			}
		}
	}
}

func TestZeroPatternMatchesNothing(t *testing.T) {
	var p Pattern
	if p.Match("order") || p.Match("") {
		t.Error("the zero pattern matches")
	}
	x := NewIndex([]Entry[int]{{[]Pattern{p}, 1}})
	if got := x.Match("order", nil); len(got) != 0 {
		t.Errorf("the zero pattern finds %v", got)
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for _, tt := range []struct{ pattern, want string }{
		{"", "the topic is empty"},
		{".", "empty segment"},
		{".order", "empty segment"},
		{"order.", "empty segment"},
		{"order..paid", "empty segment"},
		{"Ent*", "write Ent.* for all below Ent, or write out the names"},
		{"shop.Ent*", "write Ent.* for all below Ent"},
		{"Ent*.publish", `within the segment "Ent*"; a * stands for whole segments: write out the names`},
		{"*.pub*sh", "write out the names"},
		{"*try", "write out the names"},
		{"*try*", "write out the names"},
		{"order.**", "write * at the end"},
		{"order.**.x", "one segment"},
		{"order.#", "write * at the end"},
		{"order.>", "write * at the end"},
		{"order paid", "white space"},
		{"order.paid\n", `the character '\n'`},
		{"commande.payée", "the character 'é'"},
		{"order.\x80", "visible ASCII"},
		{strings.Repeat("a", MaxPatternLength+1), "has 256 characters; at most 255"},
	} {
		_, err := Parse(tt.pattern)
		if err == nil {
			t.Errorf("Parse(%q) took it", tt.pattern)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Parse(%q): %v; want: %s", tt.pattern, err, tt.want)
		}
		if len(err.Error()) > 400 {
			t.Errorf("Parse(%q): the error has %d characters", tt.pattern, len(err.Error()))
		}
	}
	mustParse(t, strings.Repeat("a", MaxPatternLength))
	mustParse(t, "a!#$%&'()+,-/:;<=>?@[]^_`{|}~.*")
}
