package console

import "strings"

// page is one of the console's URLs.
type page struct {
	// path is relative to the mount; {…} stands for one segment.
	path string
	// get shows it; post changes something. Nil: not possible.
	get, post func(*visit) error
	// changes: it is of no use where nothing can be changed.
	changes bool
	// still: it is there also while the engine is not.
	still bool
}

func (p *page) methods() string {
	switch {
	case p.post == nil:
		return "GET, HEAD"
	case p.get == nil:
		return "POST"
	}
	return "GET, HEAD, POST"
}

// pages are all of the console's URLs.
var pages = []page{
	{path: "", get: (*visit).overview},
	{path: "deliveries", get: (*visit).deliveries},
	{path: "events", get: (*visit).events},
	{path: "events/{id}", get: (*visit).event},
	{path: "events/{id}/data", get: (*visit).data},
	{path: "events/{id}/deliveries/{subscription}", get: (*visit).delivery},
	{path: "events/{id}/deliveries/{subscription}/replay", get: (*visit).askReplay, post: (*visit).replay, changes: true},
	{path: "subscriptions", get: (*visit).subscriptions},
	{path: "subscriptions/{name}", get: (*visit).subscription},
	{path: "subscriptions/{name}/pause", get: (*visit).askPause, post: (*visit).pause, changes: true},
	{path: "subscriptions/{name}/resume", post: (*visit).resume, changes: true},
	{path: "subscriptions/{name}/test", post: (*visit).test, changes: true},
	{path: "subscriptions/{name}/drop", get: (*visit).askDrop, post: (*visit).drop, changes: true},
	{path: "subscriptions/{name}/recover", get: (*visit).askRecover, post: (*visit).recover, changes: true},
	{path: "jobs", get: (*visit).jobs},
	{path: "jobs/{id}", get: (*visit).job},
	{path: "jobs/{id}/cancel", post: (*visit).cancelJob, changes: true},
	{path: "add", get: (*visit).askAdd, post: (*visit).add},
	{path: "try", get: (*visit).askTry, post: (*visit).try, changes: true},
	{path: "stream", get: (*visit).stream},
	{path: "system", get: (*visit).system},
	{path: "assets/{file}", get: (*visit).asset, still: true},
}

// location is a page that was found.
type location struct {
	page   *page
	params map[string]string
	depth  int
}

// root leads from the page to the mount, as a relative URL.
func (l *location) root() string {
	if l.depth == 0 {
		return "./"
	}
	return strings.Repeat("../", l.depth)
}

// find returns the page at a path.
func find(path, mount string) (location, bool) {
	rest, ok := strings.CutPrefix(path, mount)
	if !ok {
		return location{}, false
	}
	segments := strings.Split(rest, "/")
	for i := range pages {
		if params, ok := match(strings.Split(pages[i].path, "/"), segments); ok {
			return location{page: &pages[i], params: params, depth: len(segments) - 1}, true
		}
	}
	return location{}, false
}

func match(pattern, segments []string) (map[string]string, bool) {
	if len(pattern) != len(segments) {
		return nil, false
	}
	var params map[string]string
	for i, p := range pattern {
		name, variable := strings.CutPrefix(p, "{")
		switch {
		case !variable && p != segments[i], variable && segments[i] == "":
			return nil, false
		case variable:
			if params == nil {
				params = make(map[string]string)
			}
			params[strings.TrimSuffix(name, "}")] = segments[i]
		}
	}
	return params, true
}
