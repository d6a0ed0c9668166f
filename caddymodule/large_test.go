package caddymodule

import (
	"fmt"
	"strings"
	"testing"
)

// TestLargeConfigurationsAreJudgedInTime: to compare each type with all pairs before it took for
// ever with this many, as did the series of subscriptions that go at the end.
func TestLargeConfigurationsAreJudgedInTime(t *testing.T) {
	var lines strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&lines, "\t\tevent order.t%d\n", i)
	}
	for i := range 5_000 {
		fmt.Fprintf(&lines, "\t\tsubscription s%d https://h%d.example.com/hooks order.t%d\n", i, i, i)
	}
	adapted := mustAdapt(t, option(lines.String()))
	if err := validate(adapted); err != nil {
		t.Error(err)
	}
}

func TestARegionHasSoManyAddresses(t *testing.T) {
	addresses := func(n int) string {
		var line strings.Builder
		for i := range n {
			fmt.Fprintf(&line, " 10.%d.%d.1", i>>8, i&255)
		}
		return option("\t\tregion eu" + line.String())
	}
	if _, err := adapt(addresses(maxAddresses)); err != nil {
		t.Error(err)
	}
	if _, err := adapt(addresses(maxAddresses + 1)); err == nil || !strings.Contains(err.Error(), "1025 addresses; at most 1024 are possible") {
		t.Errorf("%v", err)
	}
}
