package payload

import "testing"

func TestIsJSON(t *testing.T) {
	for contentType, want := range map[string]bool{
		"": true, "application/json": true, "application/json; charset=utf-8": true, "Application/JSON;charset=utf-8": true,
		"application/vnd.contentful.management.v1+json": true, "application/cloudevents+json; a=b": true,
		"application/json; broken": true, "text/plain": false, "application/jsonl": false, "text/json": true, ";": false, "+json": false, "json": false,
	} {
		if got := IsJSON(contentType); got != want {
			t.Errorf("IsJSON(%q) = %v", contentType, got)
		}
	}
}
