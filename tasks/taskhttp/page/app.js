// The page: asks for a token, then shows how things are going and follows what changes.

import { get, hasToken, setToken, url } from "./api.js";
import { Detail, inHash } from "./detail.js";
import { $, setText } from "./dom.js";
import { show } from "./glance.js";
import { List } from "./list.js";
import { follow } from "./stream.js";

const statsEvery = 2_000;
const pollEvery = 5_000;

const list = new List(open, failed);
const detail = new Detail((task) => list.changed(task.id, task), failed);
let session = null; // aborted when the page stops following
let paused = false;
let state = "";

function open(id) { detail.open(id); }

// failed is told of each request that has failed.
function failed(e) {
	if (e?.status === 401) ask("The token isn't valid, or not any more.");
}

function ask(message) {
	stop();
	setToken(null);
	if ($("task").open) $("task").close();
	$("content").hidden = $("forget").hidden = $("pause").hidden = true;
	$("access").hidden = false;
	setText($("link"), "Not connected");
	setText($("access-error"), message);
	$("token").focus();
}

function stop() {
	session?.abort();
	session = null;
}

function start() {
	stop();
	session = new AbortController();
	const { signal } = session;
	$("access").hidden = true;
	$("content").hidden = $("pause").hidden = false;
	$("forget").hidden = !hasToken();
	setText($("link"), "Connecting …");
	state = "";
	list.reload();
	loop(stats, () => statsEvery, signal);
	loop(() => state === "polling" && list.reload(), () => pollEvery, signal);
	follow(url(["events"]), signal, {
		event(e) {
			if (e.name === "reset") return void list.reload();
			let t;
			try {
				t = JSON.parse(e.data);
			} catch {
				return; // of a newer server
			}
			const task = e.name === "task" ? t : null;
			if (e.name !== "task" && e.name !== "deleted") return;
			list.changed(t.id, task);
			detail.update(t.id, task);
		},
		state(now, detail) {
			if (now === "refused") return failed(detail);
			// Without an event to resume after, what has changed before isn't known.
			if (now === "live" && detail) list.reload();
			state = now;
			if (!paused) setText($("link"), now === "live" ? "Live" : "Not live: asking every " + pollEvery / 1000 + " s");
		},
	});
}

// loop does something again and again, while somebody looks.
async function loop(work, every, signal) {
	while (!signal.aborted) {
		if (!document.hidden) await work(signal);
		await new Promise((done) => setTimeout(done, every()));
	}
}

async function stats(signal) {
	try {
		const s = await get(url(["stats"]), signal);
		if (signal.aborted) return;
		show(s, open);
		list.types(Object.keys(s.counts).sort());
	} catch (e) {
		if (signal.aborted) return;
		failed(e);
		if (!signal.aborted && state !== "live") setText($("link"), e.message);
	}
}

$("access").addEventListener("submit", (e) => {
	e.preventDefault();
	const text = $("token").value.trim();
	$("token").value = "";
	setText($("access-error"), "");
	if (/[^\x21-\x7e]/.test(text) || !text) return setText($("access-error"), "A token is of visible ASCII, without spaces.");
	setToken(text);
	start();
	$("now-title").scrollIntoView();
	$("pause").focus();
});
$("forget").addEventListener("click", () => ask(""));
$("pause").addEventListener("click", () => {
	paused = !paused;
	$("pause").setAttribute("aria-pressed", String(paused));
	if (paused) {
		stop();
		setText($("link"), "Paused");
	} else {
		start();
	}
});

function fromHash() {
	const id = inHash();
	if (id !== null && id !== detail.id && !$("content").hidden) open(id);
}
addEventListener("hashchange", fromHash);

if (hasToken() || document.querySelector("meta[name=access]").content === "open") {
	start();
	fromHash();
} else {
	ask("");
}
