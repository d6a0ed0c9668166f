package caddymodule

import (
	"net/http"
	"slices"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/egresslist"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// egressAnswer is what GET /relay/egress answers.
type egressAnswer struct {
	// List is the list as receivers read it.
	List egresslist.List `json:"list"`
	// URL is the folder in which they do, if a relay_egress says so.
	URL string `json:"url"`
	// NoticeSeconds is how long ahead changes are to be announced.
	NoticeSeconds int64 `json:"notice_seconds"`
	// Planned are the changes to come, the nearest first; History the latest
	// announcements, the newest first.
	Planned []plannedChange     `json:"planned"`
	History []egressHistoryItem `json:"history"`
	// Warnings are about changes that were announced too late.
	Warnings []egresslist.Warning `json:"warnings"`
	Regions  []egressRegion       `json:"regions"`
}

// plannedChange is all that changes in a region at one moment.
type plannedChange struct {
	Region    string    `json:"region"`
	At        view.Time `json:"at"`
	Announced view.Time `json:"announced"`
	// ShortNotice: it was announced later than notice says.
	ShortNotice bool     `json:"short_notice"`
	Added       []string `json:"added"`
	Removed     []string `json:"removed"`
}

// egressHistoryItem is one announcement.
type egressHistoryItem struct {
	Kind      egresslist.Kind `json:"kind"`
	Region    string          `json:"region"`
	At        view.Time       `json:"at"`
	Announced view.Time       `json:"announced"`
	Added     []string        `json:"added"`
	Removed   []string        `json:"removed"`
	Planned   bool            `json:"planned"`
	Detail    string          `json:"detail"`
}

// egressRegion says whom to tell of a region's changes, and what.
type egressRegion struct {
	Name string `json:"name"`
	// Contacts are those of all subscriptions of the region; WithoutContact are the
	// subscriptions that have none.
	Contacts       []egressContact    `json:"contacts"`
	WithoutContact []string           `json:"without_contact"`
	Message        egresslist.Message `json:"message"`
}

type egressContact struct {
	Contact       string   `json:"contact"`
	Subscriptions []string `json:"subscriptions"`
}

// adminEgress answers GET /relay/egress.
func adminEgress(w http.ResponseWriter, _ *http.Request, a *App, engine *relay.Relay) error {
	state := engine.EgressList()
	if state == nil {
		return adminError(http.StatusServiceUnavailable, errStarting)
	}
	notice := time.Duration(a.Notice)
	if notice == 0 {
		notice = egresslist.DefaultNotice
	}
	answer := egressAnswer{
		List: state.List(), URL: a.listURL, NoticeSeconds: int64(notice / time.Second),
		Planned: planned(state, notice), History: history(state),
		Warnings: append([]egresslist.Warning{}, engine.EgressWarnings()...), Regions: []egressRegion{},
	}
	for _, region := range state.Regions {
		answer.Regions = append(answer.Regions, a.egressRegion(region.Name, state))
	}
	return writeJSON(w, http.StatusOK, answer)
}

func planned(state *egresslist.State, notice time.Duration) []plannedChange {
	all := []plannedChange{}
	for _, p := range state.Planned {
		i := slices.IndexFunc(all, func(c plannedChange) bool { return c.Region == p.Region && c.At.Equal(p.At) })
		if i < 0 {
			i = len(all)
			all = append(all, plannedChange{Region: p.Region, At: view.Time{Time: p.At}, Added: []string{}, Removed: []string{}})
		}
		c := &all[i]
		if p.Announced.After(c.Announced.Time) {
			c.Announced.Time = p.Announced // the shortest notice
		}
		c.ShortNotice = c.At.Sub(c.Announced.Time) < notice
		if p.Added {
			c.Added = append(c.Added, p.Prefix.String())
		} else {
			c.Removed = append(c.Removed, p.Prefix.String())
		}
	}
	return all
}

func history(state *egresslist.State) []egressHistoryItem {
	all := make([]egressHistoryItem, 0, len(state.History))
	for _, n := range slices.Backward(state.History) {
		all = append(all, egressHistoryItem{
			Kind: n.Kind, Region: n.Region, At: view.Time{Time: n.At}, Announced: view.Time{Time: n.Announced},
			Added: texts(n.Added), Removed: texts(n.Removed), Planned: !n.Unplanned, Detail: n.Sentence(),
		})
	}
	return all
}

// egressRegion looks for those who are to be told of a region's changes.
func (a *App) egressRegion(name string, state *egresslist.State) egressRegion {
	region := egressRegion{Name: name, Contacts: []egressContact{}, WithoutContact: []string{}, Message: state.Message(name, a.listURL)}
	for _, s := range a.plan.Subscriptions() {
		if s.Region != name {
			continue
		}
		if len(s.Contacts) == 0 {
			region.WithoutContact = append(region.WithoutContact, s.Name)
		}
		for _, contact := range s.Contacts {
			i := slices.IndexFunc(region.Contacts, func(c egressContact) bool { return c.Contact == contact })
			if i < 0 {
				i = len(region.Contacts)
				region.Contacts = append(region.Contacts, egressContact{Contact: contact})
			}
			c := &region.Contacts[i]
			if !slices.Contains(c.Subscriptions, s.Name) {
				c.Subscriptions = append(c.Subscriptions, s.Name)
			}
		}
	}
	return region
}
