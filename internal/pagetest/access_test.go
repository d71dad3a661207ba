package pagetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// contrasts returns the texts and borders of controls that are seen and whose contrast is below what WCAG 2.2 AA asks for (1.4.3, 1.4.11),
// and how many it has looked at.
const contrasts = `(() => {
	const parse = (c) => { const n = c.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
	const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
	const ground = (e) => {
		const list = [];
		for (; e; e = e.parentElement) { list.push(parse(getComputedStyle(e).backgroundColor)); if (e.localName === "dialog") break; }
		return list.reduceRight((under, c) => over(c, under), parse(getComputedStyle(document.body).backgroundColor));
	};
	const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
	const low = []; let n = 0;
	const root = document.querySelector("dialog[open]") ?? document.body;
	for (const e of [root, ...root.querySelectorAll("*")]) {
		if (!e.checkVisibility({ checkVisibilityCSS: true })) continue;
		const s = getComputedStyle(e), control = ["input", "select", "button"].includes(e.localName);
		if (control || [...e.childNodes].some((c) => c.nodeType === 3 && c.data.trim())) {
			n++;
			const g = ground(e), r = ratio(over(parse(s.color), g), g);
			if (r < (parseFloat(s.fontSize) >= 24 ? 3 : 4.5)) low.push(r.toFixed(2) + " " + e.outerHTML.slice(0, 80));
		}
		if (control && s.borderTopWidth !== "0px") {
			const g = ground(e.parentElement), r = Math.max(ratio(parse(s.borderTopColor), g), ratio(ground(e), g));
			if (r < 3) low.push("border " + r.toFixed(2) + " " + e.outerHTML.slice(0, 80));
		}
	}
	return { low, n };
})()`

type contrast struct {
	Low []string `json:"low"`
	N   int      `json:"n"`
}

// targets returns the controls that are smaller than 24 by 24 pixels (WCAG 2.2, 2.5.8).
const targets = `[...document.querySelectorAll("button, input, select")].filter((e) => e.checkVisibility()).map((e) => [e, e.getBoundingClientRect()]).filter(([, r]) => r.width < 24 || r.height < 24).map(([e, r]) => r.width + "x" + r.height + " " + e.outerHTML.slice(0, 80))`

// named are the roles of which each must have a name.
var named = []string{"button", "textbox", "searchbox", "combobox", "link", "dialog", "region", "table", "img", "image", "heading", "columnheader"}

// names returns the names of what is in the accessibility tree, by role.
func (p *page) names() map[string][]string {
	p.t.Helper()
	all := map[string][]string{}
	for _, n := range call(p, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role, name := unquoted(n.Role), unquoted(n.Name)
		all[role] = append(all[role], name)
	}
	return all
}

// looks checks all of what is seen in a scheme.
func (p *page) looks(what string) {
	p.t.Helper()
	c := js[contrast](p, contrasts)
	require.Empty(p.t, c.Low, what)
	require.Greater(p.t, c.N, 5, what)
	require.Empty(p.t, js[[]string](p, targets), what)
	all := p.names()
	for _, role := range named {
		require.NotContains(p.t, all[role], "", "%s: one of role %s has no name", what, role)
	}
	require.NotEmpty(p.t, all["button"], what)
	require.NotEmpty(p.t, all["heading"], what)
}

// TestLooks: in dark and light, wide and at 320 pixels, all text has the contrast, all controls the names and the size
// that WCAG 2.2 AA asks for, and nothing sticks out at the side.
func TestLooks(t *testing.T) {
	p := open(t)
	p.fill()
	for i, scheme := range []string{"light", "dark"} {
		p.scheme(scheme)
		if i == 0 {
			p.do(chromedp.WaitVisible("#token"))
			p.looks("the token")
			p.signIn(adminToken)
		}
		p.until(`document.querySelectorAll("#rows tr").length === 30`)
		require.Equal(t, scheme == "dark", js[bool](p, `matchMedia("(prefers-color-scheme: dark)").matches`))
		require.Equal(t, "none", js[string](p, `(() => { const tr = document.querySelector("#rows tr"); tr.classList.add("changed"); const a = getComputedStyle(tr).animationName; tr.classList.remove("changed"); return a })()`))
		for _, width := range []int64{1200, 320} {
			what := fmt.Sprintf("%s-%d", scheme, width)
			p.size(width, 800)
			p.narrow(int(width))
			p.looks(what)
			p.shot(what)
			p.run(`[...document.querySelectorAll("#rows tr")].find((r) => r.textContent.includes("failed")).querySelector("button").click()`)
			p.until(`document.querySelector("#attempts").textContent.includes("has no paper") && document.querySelector("#input").textContent !== ""`)
			p.narrow(int(width))
			p.looks(what + ", a task")
			p.shot(what + "-task")
			p.do(chromedp.Click("#close"))
		}
	}
	all := p.names()
	require.Contains(t, all["status"], "")
	require.True(t, slices.Contains(all["main"], ""), "landmarks: %v", all["main"])

	// The controls: the checks see what is wrong.
	p.run(`document.querySelector("#found").className = "probe"; document.adoptedStyleSheets = [new CSSStyleSheet()]; document.adoptedStyleSheets[0].insertRule("#found { color: #555 !important }"); document.adoptedStyleSheets[0].insertRule("#pause { min-height: 0 !important; height: 20px; padding: 0 !important }"); document.querySelector("label[for=text]").remove()`)
	require.NotEmpty(t, js[contrast](p, contrasts).Low)
	require.NotEmpty(t, js[[]string](p, targets))
	require.Contains(t, p.names()["searchbox"], "")
	p.clean()
}

// unquoted returns a value of the accessibility tree as text.
func unquoted(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	var text string
	if json.Unmarshal(v.Value, &text) != nil {
		return string(v.Value)
	}
	return text
}
