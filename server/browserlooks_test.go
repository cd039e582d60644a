//go:build browser

package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// looks are what makes a page hard to use, found in the page itself: text with less contrast than 4.5 to 1 (WCAG 2.2
// criterion 1.4.3), fields without a label, small targets, and anything wider than the window.
const looks = `(() => {
	const numbers = (color) => (color.match(/[\d.]+/g) || []).map(Number);
	const luminance = ([r, g, b]) => {
		const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * x + 0.7152 * y + 0.0722 * z;
	};
	const behind = (element) => {
		for (let e = element; e; e = e.parentElement) {
			const color = numbers(getComputedStyle(e).backgroundColor);
			if (color.length === 3 || color[3] === 1) return color;
		}
		return [255, 255, 255];
	};
	const found = [];
	const seen = (e) => e.checkVisibility() && getComputedStyle(e).visibility === "visible";
	for (const e of document.querySelectorAll("body *")) {
		if (!seen(e)) continue;
		const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim() !== "") || e.matches("input:not([type=checkbox]):not([type=hidden])");
		if (text) {
			const [a, b] = [luminance(numbers(getComputedStyle(e).color)), luminance(behind(e))];
			const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
			if (contrast < 4.5) found.push(e.tagName + " has a contrast of " + contrast.toFixed(2));
		}
		if (e.matches("input:not([type=hidden])") && e.labels.length !== 1) found.push(e.id + " has " + e.labels.length + " labels");
		if (e.matches("button, a.button, input:not([type=checkbox]):not([type=hidden])") && e.getBoundingClientRect().height < 40) found.push(e.tagName + " is " + e.getBoundingClientRect().height + " high");
	}
	if (document.querySelectorAll("h1").length !== 1) found.push("there is not one heading");
	if (document.documentElement.scrollWidth > innerWidth) found.push("the page is " + document.documentElement.scrollWidth + " wide");
	return found.join("\n");
})()`

// TestBrowserLooks looks at every page on a telephone and on a desk, by day and by night. With -artifacts it leaves the
// pictures.
func TestBrowserLooks(t *testing.T) {
	w := newWorld(t, settings{plain: true})
	ada := w.signUp("ada.lovelace@a-rather-long-name-of-a-department.example.com", "session", "bearer")
	w.give(ada.user(), "admin", "member")
	browser := newBrowser(t)
	visitor, user := w.person(t, browser), w.person(t, browser).signIn(ada.email)
	pages := []struct {
		name string
		who  *tab
		open func(p *tab)
	}{
		{"login", visitor, func(p *tab) { p.open(200, w.url+"/login") }},
		{"login-wrong", visitor, func(p *tab) {
			p.open(200, w.url+"/login")
			p.loads(401, fill("ada@example.com", "wrong"), click(submit))
		}},
		{"setup", visitor, func(p *tab) {
			p.open(200, w.url+"/login") // another fragment of the same page would load nothing
			p.open(200, w.url+"/setup#x")
			p.run(visible("#setup"))
		}},
		{"login-again", user, func(p *tab) { p.open(200, w.url+"/login") }},
		{"home", user, func(p *tab) { p.open(200, w.url+"/") }},
		{"not-found", visitor, func(p *tab) { p.open(404, w.url+"/nothing") }},
	}
	dir := t.ArtifactDir()
	for _, page := range pages {
		for _, width := range []int64{320, 390, 1280} {
			for _, scheme := range []string{"light", "dark"} {
				name := fmt.Sprintf("%s-%d-%s.png", page.name, width, scheme)
				p := page.who
				p.run(chromedp.EmulateViewport(width, 800))
				call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
				})
				page.open(p)
				if found := p.js(looks); found != "" {
					t.Errorf("%s: %s", name, strings.ReplaceAll(found, "\n", "; "))
				}
				if err := os.WriteFile(filepath.Join(dir, name), value(p, chromedp.CaptureScreenshot()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	visitor.calm()
	user.calm()
}
