package caddymodule

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay/egress"
)

// egress checks what the running instance finds about its addresses.
func (d *doctor) egress(cmd *cobra.Command, c *client) error {
	reach, err := cmd.Flags().GetBool("reach")
	if err != nil {
		return err
	}
	var list egressAnswer
	if err := c.get("/relay/egress", &list); err != nil {
		d.note(gradeFail, "egress", err.Error(), "see the log of the running instance")
		return nil
	}
	var check egressCheck
	if err := c.get(fmt.Sprintf("/relay/egress/check?reach=%t", reach), &check); err != nil {
		d.note(gradeFail, "egress", err.Error(), "see the log of the running instance")
		return nil
	}
	d.judgeEgress(&list, &check)
	return nil
}

func (d *doctor) judgeEgress(list *egressAnswer, check *egressCheck) {
	if len(check.ProxyVariables) > 0 {
		d.note(gradeOK, "proxy variables", strings.Join(check.ProxyVariables, ", ")+" of the running instance: deliveries ignore it, as they must", "")
	}
	if len(list.Regions) == 0 {
		d.note(gradeWarn, "egress", "no region is declared: the kernel chooses the address that deliveries leave from",
			"add to the relay option: region <name> <ip>")
	}
	for i := range check.Addresses {
		d.address(&check.Addresses[i])
	}
	d.overlaps(check.Addresses)
	d.cutOff(check.Endpoints)
	for _, g := range check.Gaps {
		d.gap(g)
	}
	for _, w := range list.Warnings {
		d.told = append(d.told, w.String())
		d.note(gradeWarn, "egress "+w.Region, w.Text, w.Fix)
	}
	for i := range check.Endpoints {
		if e := &check.Endpoints[i]; e.Lacks != lacksAddress {
			d.endpoint(e)
		}
	}
	if check.Skipped > 0 {
		d.note(gradeWarn, "endpoints", plural(check.Skipped, "endpoint")+" more were not looked at", "")
	}
	d.ports(check)
}

// address tells of one address of a region.
func (d *doctor) address(a *checkedAddress) {
	check := "egress " + a.Region
	detail := a.Address
	if a.Public != a.Address {
		detail += " as " + a.Public
	}
	bits := 32
	if strings.Contains(a.Address, ":") {
		bits = 128
	}
	add := fmt.Sprintf("ip addr add %s/%d dev <interface>, and make it permanent", a.Address, bits)
	now := time.Now()
	switch {
	case !a.Pinned:
		d.note(gradeWarn, check, detail+": unpinned, the kernel chooses where deliveries leave from",
			"see to it that the network lets them out as "+a.Public+" and as nothing else; where the address can be bound, write it in place of auto")
	case !a.Until.IsZero() && !now.Before(a.Until.Time):
		d.note(gradeOK, check, detail+" is no longer in use, since "+short(a.Until), "")
	case a.Up:
		if detail += " can be used"; a.Interface != "" {
			detail += ", on " + a.Interface
		}
		if now.Before(a.From.Time) {
			detail += "; planned from " + short(a.From)
		}
		d.note(gradeOK, check, detail, "")
	case now.Before(a.From.Time):
		d.note(gradeWarn, check, fmt.Sprintf("%s, which is planned from %s: %s", detail, short(a.From), a.Error), add+", before then")
	default:
		d.note(gradeFail, check, detail+": "+a.Error, add+"; deliveries that need it are held meanwhile")
	}
}

// overlaps tells of what is published twice: a prefix within another one of its region.
func (d *doctor) overlaps(addresses []checkedAddress) {
	for i, a := range addresses {
		for _, b := range addresses[:i] {
			one, err := publicPrefix(a.Public)
			other, otherErr := publicPrefix(b.Public)
			if err != nil || otherErr != nil || a.Region != b.Region || one == other || !one.Overlaps(other) {
				continue // two addresses behind one NAT are seen as one, and that is fine
			}
			small, large := a.Public, b.Public
			if one.Bits() < other.Bits() {
				small, large = large, small
			}
			d.note(gradeWarn, "egress "+a.Region, small+" is a part of "+large+", and published twice", "leave out the smaller one")
		}
	}
}

func publicPrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

// cutOff tells of the regions whose endpoints have no way, since their addresses are missing.
func (d *doctor) cutOff(endpoints []checkedEndpoint) {
	count := make(map[string]int)
	for i := range endpoints {
		if e := &endpoints[i]; e.Lacks == lacksAddress {
			count[e.Region]++
		}
	}
	for _, region := range slices.Sorted(maps.Keys(count)) {
		d.note(gradeFail, "egress "+region, "no way to "+plural(count[region], "endpoint")+" while its address is not on this machine", "as above")
	}
}

// gap tells of a time in which nothing can leave.
func (d *doctor) gap(g checkedGap) {
	until := "and no other one begins"
	if !g.Until.IsZero() {
		until = "until " + short(g.Until)
	}
	d.note(gradeWarn, "egress "+g.Region, fmt.Sprintf("from %s on no %s address is in use, %s: deliveries that need one are held", short(g.From), g.Family.Name(), until),
		"let the next address begin before the last one ends (from, until)")
}

// endpoint tells of the ways to one endpoint.
func (d *doctor) endpoint(e *checkedEndpoint) {
	check := cmp.Or(e.Region, "kernel's choice") + " to " + e.Endpoint
	if e.Error != "" {
		fix := "check the name in the URL, and the resolvers"
		switch {
		case e.Lacks == lacksFamily:
			fix = "give the region a usable address of a family that the endpoint has"
		case strings.Contains(e.Error, "is refused"):
			fix = "correct the URL, or if it is meant, allow it: allow_ips <prefix>, allow_hosts <name>"
		}
		d.note(gradeWarn, check, e.Error, fix) // as in the log: it is the dial that decides
		return
	}
	var ways, failures []string
	fix := ""
	for _, p := range e.Paths {
		from := cmp.Or(p.From, p.Source)
		way := from
		if p.From == "" {
			way += " (the kernel's choice)"
		}
		switch {
		case p.RouteError != "":
			failures = append(failures, "there is no route from "+from+" to "+p.To+": "+p.RouteError)
			fix = "give the address a route: ip route get " + hostOf(p.To) + " from " + from
		case p.Reached != nil && !*p.Reached:
			failures = append(failures, "no connection from "+from+" to "+p.To+": "+p.ReachError)
			fix = cmp.Or(fix, "ask the receiver whether its firewall lets "+from+" in, and look where packets go: tcptraceroute, or tcpdump at the router")
		case p.Reached != nil:
			ways = append(ways, fmt.Sprintf("%s in %d ms", way, p.TookMS))
		default:
			ways = append(ways, way)
		}
	}
	if len(failures) > 0 {
		d.note(gradeFail, check, strings.Join(failures, "; "), fix)
		return
	}
	what := "there is a route from "
	if len(e.Paths) > 0 && e.Paths[0].Reached != nil {
		what = "reached from "
	}
	if e.Proxy {
		what = "through a proxy, " + what
	}
	d.note(gradeOK, check, what+strings.Join(ways, ", "), "")
}

// hostOf is the address in an address with its port.
func hostOf(addrPort string) string {
	host := addrPort[:max(strings.LastIndexByte(addrPort, ':'), 0)]
	return strings.Trim(host, "[]")
}

// ports compares what may be under way at once with the ports that there are for it.
func (d *doctor) ports(c *egressCheck) {
	if c.EphemeralPorts == 0 || len(c.Endpoints) == 0 {
		return
	}
	type target struct{ region, endpoint string }
	sums := make(map[target]int)
	for _, e := range c.Endpoints {
		sums[target{e.Region, e.Endpoint}] += e.MaxInFlight
	}
	most, tight := 0, false
	for _, e := range c.Endpoints {
		key := target{e.Region, e.Endpoint}
		sum := sums[key]
		delete(sums, key)
		most = max(most, sum)
		if limit := c.EphemeralPorts * max(c.inUse(e.Region), 1); sum > limit {
			tight = true
			d.note(gradeWarn, "ports", fmt.Sprintf("%s: max_in_flight of its subscriptions is %d in all, but there are only %d ports for it", e.Endpoint, sum, limit),
				"lower max_in_flight, add addresses to the region, or widen the range: sysctl net.ipv4.ip_local_port_range")
		}
	}
	if !tight {
		d.note(gradeOK, "ports", fmt.Sprintf("%d for each address and endpoint; at most %d are needed at once", c.EphemeralPorts, most), "")
	}
}

// inUse counts the addresses of a region that deliveries may leave from, in the family that
// has fewer of them.
func (c *egressCheck) inUse(region string) int {
	count := make(map[egress.Family]int)
	for _, a := range c.Addresses {
		if a.Region == region && a.Active && a.Up {
			family := egress.IPv4
			if strings.Contains(a.Public, ":") {
				family = egress.IPv6
			}
			count[family]++
		}
	}
	least := 0
	for _, n := range count {
		if least == 0 || n < least {
			least = n
		}
	}
	return least
}
