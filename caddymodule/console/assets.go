package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"strings"
)

//go:embed assets
var assetFiles embed.FS

// assetFile is a file that pages load.
type assetFile struct {
	content     []byte
	contentType string
	// tag is a digest of the content.
	tag string
}

// assets are the files by name.
var assets = readAssets()

func readAssets() map[string]*assetFile {
	all := make(map[string]*assetFile)
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // they are in the binary
	}
	for _, e := range entries {
		content, err := fs.ReadFile(assetFiles, "assets/"+e.Name())
		if err != nil {
			panic(err)
		}
		kind := "text/plain; charset=utf-8"
		switch {
		case strings.HasSuffix(e.Name(), ".js"):
			kind = "text/javascript; charset=utf-8"
		case strings.HasSuffix(e.Name(), ".css"):
			kind = "text/css; charset=utf-8"
		case strings.HasSuffix(e.Name(), ".svg"):
			kind = "image/svg+xml"
		}
		sum := sha256.Sum256(content)
		all[e.Name()] = &assetFile{content: content, contentType: kind, tag: hex.EncodeToString(sum[:6])}
	}
	return all
}

// asset answers with a file. Browsers may keep it, and ask whether it is still the one.
func (v *visit) asset() error {
	file := assets[v.param("file")]
	if file == nil {
		return &pageError{http.StatusNotFound, "There is no such file."}
	}
	h := v.w.Header()
	tag := `"` + file.tag + `"`
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, no-cache")
	if v.query("v") == file.tag {
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	if v.r.Header.Get("If-None-Match") == tag {
		v.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", file.contentType)
	_, _ = v.w.Write(file.content)
	return nil
}
