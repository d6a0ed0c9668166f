package console

import (
	"cmp"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/egresslist"
)

// systemPage is about the machine: addresses, and space.
type systemPage struct {
	Regions []Region
	Planned []egresslist.Planned
	History []egresslist.Announcement
	Stats   relay.StoreStats
	// Members are the relays that share the store, this one first; none where it has one user.
	Members  []relay.MemberStatus
	Parts    []part
	Total    int64
	Refusing string
	Warnings []string
}

// part is what something takes of the store's space, in bytes.
type part struct {
	Name string
	Size int64
}

func (v *visit) system() error {
	stats, err := v.engine.Stats(v.context())
	if err != nil {
		return err
	}
	members, err := v.engine.Members(v.context())
	if err != nil {
		return err
	}
	p := systemPage{Members: members, Regions: v.options.Setup.Regions(), Stats: stats, Warnings: v.warnings()}
	if err := v.engine.Err(); err != nil {
		p.Refusing = err.Error()
	}
	for name, size := range stats.Size {
		p.Parts = append(p.Parts, part{name, size})
		p.Total += size
	}
	slices.SortFunc(p.Parts, func(a, b part) int { return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Name, b.Name)) })
	if state := v.engine.EgressList(); state != nil {
		p.Planned = state.Planned
		p.History = slices.Clone(state.History)
		slices.Reverse(p.History)
	}
	return v.show("system", "Egress and storage", &p)
}
