package relay

import (
	"strings"
	"testing"
)

func FuzzKeysArePackedAndUnpacked(f *testing.F) {
	f.Add("", "", false)
	f.Add("customer-1", "", true)
	f.Add("", "entry-1", true)
	f.Add("a\x1fp", "\x1f", false)
	f.Add(strings.Repeat("k", maxKeyLength+1), "p", false)
	f.Fuzz(func(t *testing.T, order, debounce string, placed bool) {
		k := keys{order: shortKey(order), debounce: shortKey(debounce), placed: placed}
		if len(k.order) > maxKeyLength || len(k.debounce) > maxKeyLength {
			t.Errorf("%q and %q are kept as %+v", order, debounce, k)
		}
		if again := unpackKeys(k.pack()); again != k {
			t.Errorf("%+v comes back as %+v", k, again)
		}
	})
}

func TestKeysThatAreAlikeStayApart(t *testing.T) {
	seen := make(map[string]string)
	for _, key := range []string{"a", "a\x1f", "a\x1fp", "a\x1fq", strings.Repeat("k", 64), strings.Repeat("k", 65), strings.Repeat("k", 66)} {
		short := shortKey(key)
		if other, has := seen[short]; has {
			t.Errorf("%q and %q are both kept as %q", key, other, short)
		}
		seen[short] = key
	}
}
