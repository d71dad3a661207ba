// One task: its fields, attempts, input and result, and what can be done about it.

import { get, request, text, url } from "./api.js";
import { $, badge, bytes, duration, el, setText, terms, time } from "./dom.js";
import { progress } from "./list.js";

const most = 256 << 10; // bytes of an input or a result that are shown

// inHash returns the id of the task that the address names, or null.
export function inHash() {
	const m = /^#task\/(.+)$/.exec(location.hash);
	try {
		return m && decodeURIComponent(m[1]);
	} catch {
		return null; // it isn't one of the page's own
	}
}

export class Detail {
	constructor(changed, fail) {
		this.changed = changed;
		this.fail = fail;
		this.id = null;
		$("close").addEventListener("click", () => $("task").close());
		$("task").addEventListener("close", () => {
			if ($("task").open) return; // it tells of the task before this one
			const asked = inHash();
			// The event comes a moment after the closing: the address may name another task by then, which is to be opened.
			if (asked === null || asked === this.id) history.replaceState(null, "", location.pathname + location.search);
			this.id = null;
			this.loading?.abort();
		});
		for (const action of ["retry", "cancel"]) $(action).addEventListener("click", () => this.act(action));
	}

	open(id) {
		this.id = id;
		this.seen = null;
		for (const name of ["input", "result", "task-error"]) $(name).textContent = "";
		$("attempts").replaceChildren();
		$("task-fields").replaceChildren();
		for (const name of ["retry", "cancel", "task-error-part"]) $(name).hidden = true;
		this.note("");
		setText($("task-title"), id);
		history.replaceState(null, "", "#task/" + encodeURIComponent(id));
		if (!$("task").open) $("task").showModal();
		$("close").focus();
		this.load();
	}

	note(message, problem) {
		$("task-note").classList.toggle("problem", Boolean(problem));
		setText($("task-note"), message);
	}

	// update takes over a change that was heard of.
	update(id, task) {
		if (id !== this.id) return;
		if (!task) {
			this.note("The task was deleted", true);
			for (const name of ["retry", "cancel"]) $(name).hidden = true;
		} else if (JSON.stringify(task) !== this.seen) {
			this.load();
		}
	}

	async load() {
		this.loading?.abort();
		this.loading = new AbortController();
		const { id } = this, { signal } = this.loading;
		try {
			const task = await get(url(["tasks", id]), signal);
			this.show(task);
			const [{ attempts }, input, result] = await Promise.all([
				get(url(["tasks", id, "attempts"]), signal),
				text(url(["tasks", id, "input"]), most, signal),
				task.status === "completed" ? text(url(["tasks", id, "result"]), most, signal) : null,
			]);
			if (signal.aborted) return;
			this.showAttempts(attempts);
			this.showText($("input"), input, "none");
			this.showText($("result"), result, ["completed", "error"].includes(task.status) ? "none" : "not yet");
		} catch (e) {
			if (!signal.aborted) { this.note(e.message, true); this.fail(e); }
		}
	}

	show(t) {
		this.seen = JSON.stringify(t);
		const took = t.ended_at && t.started_at ? (new Date(t.ended_at) - new Date(t.started_at)) / 1000 : null;
		terms($("task-fields"), [
			["Status", badge(t).textContent],
			["Type", t.type],
			["Progress", progress(t)],
			["Created", time(t.created_at)],
			["Not before", time(t.run_at)],
			["Started", time(t.started_at)],
			["Ended", time(t.ended_at)],
			["Took", took === null || took < 0 ? null : duration(took)],
			["Attempts", String(t.attempts) + (t.uncounted ? ", " + t.uncounted + " of them not counted" : "")],
			["Owner", t.owner],
			["Priority", t.priority ? String(t.priority) : null],
			["Labels", Object.entries(t.labels ?? {}).map(([k, v]) => k + ": " + v).join(", ")],
		]);
		$("task-error-part").hidden = !t.error;
		setText($("task-error"), t.error ?? "");
		this.button("retry", t.status === "error");
		this.button("cancel", t.status === "pending" || t.status === "processing");
	}

	// button shows or hides one, without losing the focus.
	button(name, shown) {
		const b = $(name);
		if (!shown && b === document.activeElement) $("close").focus();
		b.hidden = !shown;
	}

	showAttempts(list) {
		$("attempts").replaceChildren(...list.map((a) => el("tr", {},
			el("th", { scope: "row" }, String(a.number)), el("td", {}, time(a.started_at)),
			el("td", {}, a.ended_at ? duration((new Date(a.ended_at) - new Date(a.started_at)) / 1000) : "–"),
			el("td", { class: "text" }, a.error ? a.error : a.ended_at ? "succeeded" : "running, or not reported"))));
		if (!list.length) $("attempts").append(el("tr", {}, el("td", { colspan: 4 }, "None")));
	}

	showText(pre, got, none) {
		if (!got) return setText(pre, none);
		setText(pre, got.text + (got.whole ? "" : "\n… the first " + bytes(most) + " of " + bytes(got.size)));
	}

	async act(action) {
		const { id } = this;
		this.note(action === "retry" ? "Retrying …" : "Cancelling …");
		try {
			const task = await (await request(url(["tasks", id, action]), { method: "POST" })).json();
			this.changed(task);
			if (id !== this.id) return;
			this.note(action === "retry" ? "It is pending again" : "It is cancelled");
			await this.load();
		} catch (e) {
			if (id === this.id) this.note(e.message, true);
			this.fail(e);
		}
	}
}
