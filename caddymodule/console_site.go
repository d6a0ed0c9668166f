package caddymodule

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyrelay/caddyrelay/relay/arrival"
)

// consoleSite is where a console stands in the routes of its server.
type consoleSite struct {
	// named says that every way to it leads through a matcher of host names.
	named bool
	// mounts are the prefixes that matchers of paths on the way to it have, each with a
	// slash at its end.
	mounts []string
}

// mount returns the path of the first page as requests have it. The prefix of a matcher may
// have been cut off on the way, or not.
func (s *consoleSite) mount(path string) string {
	longest := "/"
	for _, m := range s.mounts {
		if len(m) > len(longest) && len(path)+1 >= len(m) && strings.EqualFold((path + "/")[:len(m)], m) {
			longest = (path + "/")[:len(m)]
		}
	}
	return longest
}

// site finds the console in the routes of the server that handles a request. A handler is
// not told where it stands; the routes of a running server do not change.
func (h *Console) site(r *http.Request) *consoleSite {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server == nil {
		return &consoleSite{}
	}
	if known, ok := h.sites.Load(server); ok {
		return known.(*consoleSite)
	}
	search := siteSearch{wanted: h, server: server, site: consoleSite{named: true}}
	search.routes(server.Routes, consoleSite{}, 0)
	if !search.found {
		search.site = consoleSite{}
	}
	known, _ := h.sites.LoadOrStore(server, &search.site)
	return known.(*consoleSite)
}

// siteSearch looks for a handler.
type siteSearch struct {
	wanted *Console
	server *caddyhttp.Server
	found  bool
	site   consoleSite
}

// deepestRoute bounds the search: named routes can invoke themselves.
const deepestRoute = 32

func (s *siteSearch) routes(routes caddyhttp.RouteList, above consoleSite, depth int) {
	if depth > deepestRoute {
		return
	}
	for i := range routes {
		route := &routes[i]
		here := consoleSite{named: above.named || named(route.MatcherSets), mounts: slices.Concat(above.mounts, prefixes(route.MatcherSets))}
		for _, handler := range route.Handlers {
			switch handler := handler.(type) {
			case *Console:
				if handler == s.wanted {
					s.found = true
					s.site.named = s.site.named && here.named
					s.site.mounts = append(s.site.mounts, here.mounts...)
				}
			case *caddyhttp.Subroute:
				s.routes(handler.Routes, here, depth+1)
			case *caddyhttp.Invoke:
				if route := s.server.NamedRoutes[handler.Name]; route != nil {
					s.routes(caddyhttp.RouteList{*route}, here, depth+1)
				}
			}
		}
	}
}

// named reports whether a request only matches by a host name. One for this machine is
// none: anybody can ask for localhost.
func named(sets caddyhttp.MatcherSets) bool {
	for _, set := range sets {
		if !slices.ContainsFunc(set, func(m any) bool {
			hosts, ok := matcherOf[caddyhttp.MatchHost](m)
			return ok && len(hosts) > 0 && !slices.ContainsFunc(hosts, func(host string) bool {
				return strings.Trim(host, "*.") == "" || arrival.Local(host)
			})
		}) {
			return false
		}
	}
	return len(sets) > 0
}

// prefixes returns the paths like /ops/* that a route is for.
func prefixes(sets caddyhttp.MatcherSets) []string {
	var all []string
	for _, set := range sets {
		for _, m := range set {
			paths, _ := matcherOf[caddyhttp.MatchPath](m)
			for _, p := range paths {
				prefix := strings.TrimSuffix(strings.TrimSuffix(p, "*"), "/") + "/"
				if strings.HasPrefix(prefix, "/") && !strings.ContainsAny(prefix, "*%{") {
					all = append(all, prefix)
				}
			}
		}
	}
	return all
}

// matcherOf returns a matcher as a value: Caddy has both.
func matcherOf[T any](m any) (T, bool) {
	switch m := m.(type) {
	case T:
		return m, true
	case *T:
		return *m, true
	}
	var none T
	return none, false
}
