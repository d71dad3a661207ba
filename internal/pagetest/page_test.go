package pagetest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

func row(id string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#rows tr")].find((r) => r.querySelector("button").textContent === %q)`, id)
}

// TestPage: it shows what there is, follows what changes without being asked, finds what is searched, and retries and cancels.
func TestPage(t *testing.T) {
	p := open(t)
	p.fill()
	p.signIn(adminToken)
	p.until(`document.querySelectorAll("#rows tr").length === 30`)
	require.Equal(t, "Tasks: worth a look", js[string](p, "document.title"))
	require.Contains(t, js[string](p, `document.querySelector("#verdict").textContent`), "3 tasks have failed")
	require.Contains(t, js[string](p, `document.querySelector("#failures").textContent`), "has no paper")
	require.Contains(t, js[string](p, `document.querySelector("#counts").innerText`), "scan")
	require.Contains(t, js[string](p, `document.querySelector("#vfs").textContent`), "Syncs per commit")
	p.until(`document.querySelector(".chart path").getAttribute("d").includes("L")`)
	p.shot("light")

	// A task that is new, and one that changes, without a reload.
	require.NoError(t, p.store.Create(t.Context(), "new-one", "form"))
	p.until(row("new-one") + `?.textContent.includes("pending")`)
	require.NoError(t, p.store.Cancel(t.Context(), "new-one"))
	p.until(row("new-one") + `?.textContent.includes("cancelled")`)
	require.NoError(t, p.store.Delete(t.Context(), "new-one"))
	p.until("!" + row("new-one"))

	// Search.
	p.do(chromedp.SendKeys("#text", "NO PAPER"))
	p.until(`document.querySelectorAll("#rows tr").length === 3`)
	p.until(`document.querySelector("#found").textContent.startsWith("3 tasks")`)
	p.run(`document.querySelector("#text").select()`)
	p.do(chromedp.KeyEvent("doc-00"))
	p.until(`document.querySelectorAll("#rows tr").length === 10`)
	p.run(`text.value = ""; text.dispatchEvent(new Event("input")); document.getElementById("status").value = "error"; document.getElementById("status").dispatchEvent(new Event("change"))`)
	p.until(`document.querySelectorAll("#rows tr").length === 3`)

	// A failed task, and another try.
	p.do(chromedp.Click("#rows button"))
	p.until(`document.querySelector("#task").open && document.querySelector("#attempts").textContent.includes("has no paper")`)
	require.Contains(t, js[string](p, `document.querySelector("#task-error").textContent`), "has no paper")
	require.Contains(t, js[string](p, `document.querySelector("#input").textContent`), `"page":`)
	p.shot("failed-task")
	id := js[string](p, `document.querySelector("#task-title").textContent`)
	p.do(chromedp.Click("#retry"))
	p.until(`document.querySelector("#task-note").textContent === "It is pending again"`)
	info, err := p.store.Status(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, tasks.Pending, info.Status)
	p.do(chromedp.Click("#cancel"))
	p.until(`document.querySelector("#task-note").textContent === "It is cancelled"`)
	info, err = p.store.Status(t.Context(), id)
	require.NoError(t, err)
	require.True(t, info.Cancelled)

	// Another task is asked for in the moment between the closing of this one and its event.
	p.run(`document.querySelector("#close").click(); location.hash = "#task/doc-001"`)
	p.until(`document.querySelector("#task").open && document.querySelector("#task-title").textContent === "doc-001"`)
	p.do(chromedp.Click("#close"))
	p.until(`!document.querySelector("#task").open && location.hash === ""`)

	// A result is shown as it is stored.
	p.run(`location.hash = "#task/doc-000"`)
	p.until(`document.querySelector("#result").textContent.includes("12345678901234567890")`)
	p.clean()
}

// TestTokens: without a token nothing is asked for; a wrong one is said to be; the token lasts for the tab and can be forgotten;
// a reader sees no database and is told that it may not cancel; and where everybody may do everything no token is asked for.
func TestTokens(t *testing.T) {
	p := open(t)
	require.NoError(t, p.store.Create(t.Context(), "mine", "scan", tasks.Owner("reader")))
	require.NoError(t, p.store.Create(t.Context(), "another's", "scan"))
	p.do(chromedp.WaitVisible("#token"))
	for _, r := range p.requests {
		require.NotContains(t, r, "/stats")
	}
	p.clean()
	p.do(chromedp.SendKeys("#token", "wrong-0123456789abcdef\r"))
	p.until(`document.querySelector("#access-error").textContent.includes("isn't valid")`)
	p.signIn(readerToken)
	p.until(`document.querySelectorAll("#rows tr").length === 1`)
	require.Contains(t, js[string](p, `document.querySelector("#vfs").textContent`), "admin")
	p.do(chromedp.Click("#rows button"), chromedp.WaitVisible("#cancel"), chromedp.Click("#cancel"))
	p.until(`document.querySelector("#task-note").textContent.includes("Not allowed")`)
	p.do(chromedp.Navigate("about:blank"), chromedp.Navigate(p.url))
	p.until(`document.querySelectorAll("#rows tr").length === 1`)
	p.do(chromedp.Click("#forget"), chromedp.WaitVisible("#token"))
	require.Equal(t, 0, js[int](p, "sessionStorage.length + localStorage.length + document.cookie.length"))

	free := open(t, taskhttp.Open())
	free.until(`document.querySelector("#link").textContent === "Live"`)
	free.clean()
}

// TestBreak: when the stream ends the page says so, and what has changed meanwhile is there once it is back; and a pause holds.
func TestBreak(t *testing.T) {
	p := open(t)
	p.signIn(adminToken)
	p.h.Shutdown() // ends streams, and each new one at once: what is left is polling
	p.until(`document.querySelector("#link").textContent.startsWith("Not live")`)
	require.NoError(t, p.store.Create(t.Context(), "meanwhile", "scan"))
	p.until(row("meanwhile"))
	p.do(chromedp.Click("#pause"))
	p.until(`document.querySelector("#link").textContent === "Paused" && document.querySelector("#pause").getAttribute("aria-pressed") === "true"`)
	p.clean()
}

// TestHostile: what tasks hold is text, whatever it is, and doesn't break the page.
func TestHostile(t *testing.T) {
	p := open(t)
	markup := `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
	ids := []string{markup, "bidi \u202Egnp.exe", strings.Repeat("W", tasks.MaxID), "a/../b?c#d%00", "..", "&amp;<b>"}
	for _, id := range ids {
		if err := p.store.Create(t.Context(), id, "scan", tasks.Input(markup+"\u202E")); err != nil {
			require.ErrorIs(t, err, tasks.ErrInvalid, id) // the table itself refuses it
			continue
		}
		require.NoError(t, p.store.Update(t.Context(), id, tasks.Processing, nil))
		require.NoError(t, p.store.Update(t.Context(), id, tasks.Completed, json.RawMessage(`"`+strings.ReplaceAll(markup, `"`, `\"`)+"\u202E"+strings.Repeat("long", 100_000)+`"`)))
	}
	p.signIn(adminToken)
	p.until(`document.querySelectorAll("#rows tr").length > 3`)
	p.size(320, 700)
	n := js[int](p, `document.querySelectorAll("#rows tr").length`)
	for i := range n {
		name := js[string](p, fmt.Sprintf(`document.querySelectorAll("#rows button")[%d].textContent`, i))
		require.NotContains(t, name, "\u202E")
		p.run(fmt.Sprintf(`document.querySelectorAll("#rows button")[%d].click()`, i))
		if name == ".." {
			p.until(`document.querySelector("#task-note").textContent.includes("can't ask")`)
		} else {
			p.until(`document.querySelector("#result").textContent.includes("the first 256.0 KiB")`)
			text := js[string](p, `document.querySelector("#result").textContent.slice(0, 300)`)
			require.Contains(t, text, "<script>")
			require.Contains(t, text, `\u202e`)
		}
		p.narrow(320)
		if i == 0 {
			p.shot("hostile")
		}
		p.run(`document.querySelector("#close").click()`)
	}
	require.Equal(t, 0, js[int](p, `document.querySelectorAll("img, script:not([src]), b").length`))
	require.NotEqual(t, "owned", js[string](p, "document.title"))
	p.clean()

	// The control: the policy refuses what the page doesn't do.
	require.Contains(t, js[string](p, `(() => { try { document.body.innerHTML = "<b>"; return "taken" } catch (e) { return e.name } })()`), "TypeError")
}

// narrow checks that nothing sticks out at the side.
func (p *page) narrow(width int) {
	p.t.Helper()
	require.LessOrEqual(p.t, js[int](p, "document.documentElement.scrollWidth"), width)
	require.LessOrEqual(p.t, js[int](p, `(() => { const d = document.querySelector("dialog[open]"); return d ? d.scrollWidth - d.clientWidth : 0 })()`), 0)
}

// TestKeyboard: all can be done without a mouse, the focus is seen, and goes back to where it was.
func TestKeyboard(t *testing.T) {
	p := open(t)
	require.NoError(t, p.store.Create(t.Context(), "only", "scan"))
	p.do(chromedp.WaitVisible("#token"))
	require.Equal(t, "token", js[string](p, "document.activeElement.id"))
	p.do(chromedp.KeyEvent(adminToken), chromedp.KeyEvent(kb.Enter))
	p.until(row("only"))
	p.until(`document.querySelector("#link").textContent === "Live"`)
	tab := func(want string) {
		t.Helper()
		for range 30 {
			p.do(chromedp.KeyEvent(kb.Tab))
			require.Equal(t, "solid", js[string](p, "getComputedStyle(document.activeElement).outlineStyle"), js[string](p, "document.activeElement.outerHTML"))
			if js[bool](p, want) {
				return
			}
		}
		t.Fatal("the focus doesn't come to " + want)
	}
	tab(`document.activeElement.id === "text"`)
	tab(`document.activeElement.textContent === "only"`)
	p.do(chromedp.KeyEvent(kb.Enter))
	p.until(`document.querySelector("#task").open && !document.querySelector("#cancel").hidden`)
	tab(`document.activeElement.id === "cancel"`)
	p.do(chromedp.KeyEvent(kb.Enter))
	p.until(`document.querySelector("#task-note").textContent === "It is cancelled"`)
	require.True(t, js[bool](p, `document.querySelector("#task").contains(document.activeElement)`))
	p.do(chromedp.KeyEvent(kb.Escape))
	p.until(`!document.querySelector("#task").open && document.activeElement.textContent === "only"`)
	p.clean()
}
