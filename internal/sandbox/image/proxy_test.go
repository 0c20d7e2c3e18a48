//go:build linux

package image

import (
	"net/url"
	"testing"
)

func TestProxiesAreThoseOfApt(t *testing.T) {
	p := parseProxies("Acquire::http::Proxy http://cache.example:3142\nAcquire::http::Proxy::near.example DIRECT\n" +
		"Acquire::https::Proxy::far.example http://other.example:8080/\nAcquire::Retries 3\nAcquire::http::Pipeline-Depth 5\n")
	for u, want := range map[string]string{
		"http://deb.debian.org/debian": "http://cache.example:3142",
		"http://near.example/debian":   "",
		"https://far.example":          "http://other.example:8080/",
		"https://deb.debian.org":       "http://cache.example:3142",
	} {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if by, err := p.For(parsed); err != nil {
			t.Errorf("%s: %v", u, err)
		} else if by != nil {
			got = by.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", u, got, want)
		}
	}
}
