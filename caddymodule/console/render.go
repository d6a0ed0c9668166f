package console

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strconv"

	"go.uber.org/zap"
)

//go:embed pages/*.html
var pageFiles embed.FS

// templates has one for each page, with the layout around it.
var templates = parsePages()

func parsePages() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(functions).ParseFS(pageFiles, "pages/layout.html", "pages/parts.html"))
	entries, err := pageFiles.ReadDir("pages")
	if err != nil {
		panic(err) // it is in the binary
	}
	all := make(map[string]*template.Template)
	for _, e := range entries {
		name := e.Name()
		if name == "layout.html" || name == "parts.html" {
			continue
		}
		all[name[:len(name)-len(".html")]] = template.Must(template.Must(layout.Clone()).ParseFS(pageFiles, "pages/"+name))
	}
	return all
}

// frame is what the layout shows around a page.
type frame struct {
	*visit
	Title string
	// Current is the name of the page's template.
	Current string
	Page    any
}

// Version is that of the relay.
func (f *frame) Version() string { return f.options.Setup.Version() }

// Asset is the URL of a file that pages load, with its version, so that browsers keep it
// until there is a new one.
func (f *frame) Asset(name string) string {
	return f.Root + "assets/" + name + "?v=" + assets[name].tag
}

// ReadOnly says that nothing can be changed.
func (f *frame) ReadOnly() bool { return f.options.ReadOnly }

// render answers with a page.
func (v *visit) render(status int, name, title string, page any) {
	var out bytes.Buffer
	err := templates[name].ExecuteTemplate(&out, "layout.html", &frame{visit: v, Title: title, Current: name, Page: page})
	if err != nil {
		v.logger.Error("a page of the console cannot be shown", zap.String("page", name), zap.Error(err))
		http.Error(v.w, "this page cannot be shown; see the log", http.StatusInternalServerError)
		return
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(out.Len()))
	v.w.WriteHeader(status)
	_, _ = v.w.Write(out.Bytes()) // who does not read it has gone
}

// show answers with a page that was asked for.
func (v *visit) show(name, title string, page any) error {
	v.render(http.StatusOK, name, title, page)
	return nil
}
