// How things are going: counts, rates, times, failures, and the databases.

import { Chart } from "./chart.js";
import { $, bytes, duration, el, number, rate, setText, terms, visible } from "./dom.js";

const columns = ["pending", "processing", "completed", "error"];
const waitsLong = 60; // seconds that a task may wait before that is worth a look
const chartSeconds = 300;
const databases = new Map();

// verdict returns what is wrong, worst first.
export function verdict(s) {
	const list = [];
	for (const db of s.vfs ?? []) {
		if (db.failed) list.push(["bad", "A database is out of order: " + db.failed]);
		if (db.failed_checkpoints > 0) list.push(["warn", number(db.failed_checkpoints) + " checkpoints have failed since the start"]);
	}
	const failed = Math.round(s.rates.failed_per_second * s.rates.seconds);
	if (failed > 0) list.push(["warn", number(failed) + (failed === 1 ? " task has" : " tasks have") + " failed within " + duration(s.rates.seconds)]);
	if (s.oldest_pending && s.oldest_pending.seconds > waitsLong) list.push(["warn", "A task has been waiting for " + duration(s.oldest_pending.seconds)]);
	return list;
}

export function show(s, open) {
	showVerdict(verdict(s));
	const sum = (status) => Object.values(s.counts).reduce((n, c) => n + (c[status] ?? 0), 0);
	const times = (t) => (t.tasks ? [duration(t.p50_seconds), "95 %: " + duration(t.p95_seconds)] : ["–", "none yet"]);
	terms($("figures"), [
		["Pending", number(sum("pending"))],
		["Processing", number(sum("processing"))],
		["Completed", number(sum("completed"))],
		["Failed", number(sum("error"))],
		["Completed per second", rate(s.rates.completed_per_second), "created: " + rate(s.rates.created_per_second)],
		["Time in the queue", ...times(s.queue)],
		["Time of a handler", ...times(s.handler)],
		["Oldest pending", s.oldest_pending ? duration(s.oldest_pending.seconds) : "–", s.oldest_pending?.type ?? "none"],
	]);
	rows($("counts"), Object.entries(s.counts).sort(([a], [b]) => (a < b ? -1 : 1)), ([type]) => type, ([type, c]) => [
		el("th", { scope: "row" }, type), ...columns.map((k) => el("td", {}, number(c[k] ?? 0)))], "No tasks", 5);
	rows($("failures"), s.failures, (f) => f.type + "\n" + f.error, (f) => {
		const b = el("button", { type: "button", class: "link" }, f.task);
		b.addEventListener("click", () => open(f.task));
		return [el("td", { class: "text" }, f.error || "(no text)", el("span", { class: "cause" }, f.type)), el("td", {}, number(f.count)), el("td", { class: "text" }, b)];
	}, "None", 3);
	showDatabases(s);
}

function showVerdict(list) {
	const box = $("verdict");
	const kind = list.some(([k]) => k === "bad") ? "bad" : list.length ? "warn" : "good";
	const title = { bad: "Out of order", warn: "Worth a look", good: "All is well" }[kind];
	document.title = "Tasks: " + title.toLowerCase();
	const text = JSON.stringify([title, list]);
	if (box.dataset.text === text) return;
	box.dataset.text = text;
	box.className = kind;
	const ul = el("ul", {}, ...list.map(([, t]) => el("li", {}, t)));
	box.replaceChildren(el("p", {}, title), ...(list.length ? [ul] : []));
}

// rows fills a table in place: a row that has the same cells stays, and so does the focus in it.
function rows(body, list, key, cells, none, width) {
	const old = new Map([...body.children].map((tr) => [tr.dataset.key, tr]));
	const all = list.map((item) => {
		const tr = el("tr", {}, ...cells(item));
		tr.dataset.key = key(item);
		const before = old.get(tr.dataset.key);
		if (before && before.textContent === tr.textContent) return before;
		return tr;
	});
	if (!all.length) all.push(el("tr", {}, el("td", { colspan: width }, none)));
	const had = body.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.key : null;
	if (all.length === body.children.length && all.every((tr, i) => tr === body.children[i])) return;
	body.replaceChildren(...all);
	if (had !== null) all.find((tr) => tr.dataset.key === had)?.querySelector("button")?.focus();
}

function showDatabases(s) {
	const box = $("vfs");
	if (!s.vfs) {
		databases.clear();
		box.replaceChildren(el("p", {}, "Only the right admin shows the databases; and one of another kind has none to show."));
		return;
	}
	if (!databases.size) box.replaceChildren();
	const at = Date.now() / 1000;
	for (const db of s.vfs) {
		let d = databases.get(db.database);
		if (!d) {
			d = { dl: el("dl", { class: "cards" }), chart: new Chart(chartSeconds), caption: el("figcaption") };
			d.element = el("div", { class: "database" }, el("h3", {}, db.database), d.dl, el("figure", {}, d.caption, d.chart.element));
			databases.set(db.database, d);
			box.append(d.element);
		}
		terms(d.dl, [
			["Syncs per commit", db.commits ? (db.syncs / db.commits).toPrecision(2) : "–", number(db.syncs) + " of " + number(db.commits)],
			["Commits not yet durable", number(db.pending_commits), bytes(db.pending_bytes) + " of WAL"],
			["Loss window now", duration(db.oldest_pending_us / 1e6), "longest: " + duration(db.max_window_us / 1e6)],
			["WAL", bytes(db.wal_bytes), "started over: " + number(db.wal_restarts)],
			["Longest sync", duration(db.max_sync_us / 1e6), "stalls: " + number(db.stalls)],
			["State", db.failed ? "failed" : "working", "mode: " + db.mode],
		]);
		const most = d.chart.add(at, db.wal_bytes, (now, most) => "Size of the WAL: " + bytes(now) + " now, " + bytes(most) + " at most");
		setText(d.caption, "Size of the WAL over the last 5 minutes that this page was open; the top is " + bytes(most));
	}
	for (const [name, d] of databases) {
		if (!s.vfs.some((db) => db.database === name)) {
			d.element.remove();
			databases.delete(name);
		}
	}
	if (!databases.size) box.replaceChildren(el("p", {}, "No database is open through the VFS."));
}

export const types = (s) => Object.keys(s.counts).sort().map(visible);
