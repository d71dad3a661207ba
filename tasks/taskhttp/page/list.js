// The list of tasks: what is loaded of it, what is shown of that, and how it follows changes.

import { get, url } from "./api.js";
import { $, badge, el, number, setText, time } from "./dom.js";

const pageSize = 100;
const searchSize = 1000;
const searchPages = 5; // how far back a search by text looks

export class List {
	constructor(open, fail) {
		this.open = open;
		this.fail = fail;
		this.tasks = new Map();
		this.rows = new Map();
		this.next = null;
		this.shown = pageSize;
		this.run = 0;
		let typing;
		$("filter").addEventListener("submit", (e) => { e.preventDefault(); this.reload(); });
		$("text").addEventListener("input", () => { this.draw(); clearTimeout(typing); typing = setTimeout(() => this.reload(), 300); });
		for (const id of ["type", "status"]) $(id).addEventListener("change", () => this.reload());
		$("more").addEventListener("click", () => this.more());
	}

	query() {
		const q = [["limit", this.words() ? searchSize : pageSize]];
		if ($("type").value) q.push(["type", $("type").value]);
		if ($("status").value) q.push(["status", $("status").value]);
		return q;
	}

	words() { return $("text").value.trim().toLowerCase(); }

	matches(t) {
		if ($("type").value && t.type !== $("type").value) return false;
		if ($("status").value && t.status !== $("status").value) return false;
		const words = this.words();
		if (!words) return true;
		const labels = Object.entries(t.labels ?? {}).map(([k, v]) => k + ":" + v).join("\n");
		return [t.id, t.error ?? "", t.owner ?? "", labels].join("\n").toLowerCase().includes(words);
	}

	// reload looks at the list from its newest task on.
	async reload() {
		const run = ++this.run;
		this.heard = new Map();
		const found = new Map();
		let next = null;
		try {
			for (let i = 0; i < (this.words() ? searchPages : 1); i++) {
				const page = await get(url(["tasks"], next ? [...this.query(), ["after", next]] : this.query()));
				if (run !== this.run) return;
				for (const t of page.tasks) found.set(t.id, t);
				next = page.next ?? null;
				if (!next) break;
			}
		} catch (e) {
			if (run === this.run) { this.heard = null; this.fail(e); }
			return;
		}
		// What was heard of meanwhile is newer.
		for (const [id, t] of this.heard) t ? found.set(id, t) : found.delete(id);
		this.heard = null;
		this.tasks = found;
		this.next = next;
		this.shown = Math.max(pageSize, Math.min(this.shown, found.size));
		this.draw();
	}

	async more() {
		const run = this.run;
		this.shown += pageSize;
		if (this.next && this.shown > this.visible().length) {
			try {
				const page = await get(url(["tasks"], [...this.query(), ["after", this.next]]));
				if (run !== this.run) return;
				for (const t of page.tasks) if (!this.tasks.has(t.id)) this.tasks.set(t.id, t);
				this.next = page.next ?? null;
			} catch (e) {
				this.fail(e);
			}
		}
		this.draw();
	}

	// changed takes over a task that has changed, or that is deleted if there is only its id.
	changed(id, task) {
		this.heard?.set(id, task);
		if (task) this.tasks.set(id, task);
		else this.tasks.delete(id);
		if (!this.drawing) {
			this.drawing = setTimeout(() => { this.drawing = null; this.draw(); }, 200);
		}
	}

	visible() {
		const list = [...this.tasks.values()].filter((t) => this.matches(t));
		return list.sort((a, b) => (a.created_at !== b.created_at ? (a.created_at < b.created_at ? 1 : -1) : a.id < b.id ? 1 : -1));
	}

	draw() {
		const all = this.visible();
		const list = all.slice(0, this.shown);
		const body = $("rows");
		const rows = new Map(list.map((t) => [t.id, this.row(t)]));
		// Those that stay aren't moved: a row that is moved loses the focus.
		for (const [id, row] of this.rows) if (!rows.has(id)) row.tr.remove();
		let at = body.firstElementChild;
		for (const { tr } of rows.values()) {
			if (tr === at) at = at.nextElementSibling;
			else body.insertBefore(tr, at);
		}
		this.rows = rows;
		// Tasks beyond what is shown needn't be kept for ever.
		if (this.tasks.size > searchSize * searchPages * 2) {
			this.tasks = new Map(all.slice(0, searchSize * searchPages).map((t) => [t.id, t]));
		}
		$("more").hidden = all.length <= this.shown && !this.next;
		const looked = this.words() ? " of the newest " + number(this.tasks.size) + " looked at" : "";
		setText($("found"), list.length === 0 ? "No task found" + looked : number(list.length) + (list.length === 1 ? " task" : " tasks") + " shown" + looked);
	}

	row(t) {
		const state = JSON.stringify(t);
		let row = this.rows.get(t.id);
		if (row?.state === state) return row;
		if (!row) {
			const button = el("button", { type: "button", class: "link" }, t.id);
			button.addEventListener("click", () => this.open(t.id));
			row = { tr: el("tr", {}, el("th", { scope: "row" }, button), el("td"), el("td", { class: "roomy text" }), el("td", { class: "roomy" }), el("td", { class: "roomy" })) };
		} else {
			row.tr.classList.remove("changed");
			void row.tr.offsetWidth; // so that it begins again
			row.tr.classList.add("changed");
		}
		row.state = state;
		const [name, status, type, attempts, created] = row.tr.children;
		name.querySelector(".cause")?.remove();
		const cause = t.error || progress(t);
		if (cause) name.append(el("span", { class: "cause" }, cause.split("\n", 1)[0].slice(0, 200)));
		status.replaceChildren(badge(t));
		setText(type, t.type);
		setText(attempts, number(t.attempts));
		setText(created, time(t.created_at));
		return row;
	}

	// types offers the types that there are.
	types(list) {
		const select = $("type");
		const have = new Set([...select.options].map((o) => o.value));
		for (const t of list) if (!have.has(t)) select.append(el("option", { value: t }, t));
	}
}

export function progress(t) {
	if (!t.progress || t.status !== "processing") return "";
	const { done, total, note } = t.progress;
	return [total ? Math.round((done / total) * 100) + " %" : done ? number(done) + " done" : "", note ?? ""].filter(Boolean).join(", ");
}
