// Server-sent events through fetch, since an EventSource can't send a token in a header.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

import { Problem, request } from "./api.js";

const silence = 45_000; // longer than two heartbeats: the connection is dead

// parser returns a function that takes text as it comes, and calls back with each event.
export function parser(dispatch) {
	let rest = "", name = "", data = [], id = null, cr = false;
	const line = (text) => {
		if (text === "") {
			dispatch({ name: name || "message", data: data.length ? data.join("\n") : null, id });
			name = "";
			data = [];
			return;
		}
		const colon = text.indexOf(":");
		if (colon === 0) return;
		const field = colon < 0 ? text : text.slice(0, colon);
		let value = colon < 0 ? "" : text.slice(colon + 1);
		if (value.startsWith(" ")) value = value.slice(1);
		if (field === "event") name = value;
		else if (field === "data") data.push(value);
		else if (field === "id" && !value.includes("\0")) id = value;
	};
	return (text) => {
		if (cr && text.startsWith("\n")) text = text.slice(1);
		cr = text.endsWith("\r");
		rest += text;
		const lines = rest.split(/\r\n|\n|\r/);
		rest = lines.pop();
		lines.forEach(line);
	};
}

// follow hears events for as long as the signal isn't aborted. It connects again after the last event that it has heard;
// state is told "live", "polling" once it has failed to, and "refused" where there is no use in trying again.
export async function follow(where, signal, { event, state }) {
	let last = null, failures = 0;
	while (!signal.aborted) {
		const attempt = new AbortController();
		const stop = () => attempt.abort();
		signal.addEventListener("abort", stop);
		let watch = setTimeout(stop, silence);
		try {
			const answer = await request(where, { headers: last === null ? {} : { "Last-Event-ID": last }, signal: attempt.signal });
			const feed = parser((e) => {
				if (e.id !== null) last = e.id;
				if (e.data !== null) event(e);
			});
			state("live", last === null);
			const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
			for (;;) {
				const { done, value } = await reader.read();
				if (done) break;
				failures = 0;
				clearTimeout(watch);
				watch = setTimeout(stop, silence);
				feed(value);
			}
		} catch (e) {
			if (signal.aborted) return;
			if (e instanceof Problem && (e.status === 401 || e.status === 403)) {
				state("refused", e);
				return;
			}
			if (e instanceof Problem && e.status === 400) last = null; // the event isn't one of this server's
		} finally {
			clearTimeout(watch);
			signal.removeEventListener("abort", stop);
		}
		if (signal.aborted) return;
		failures++;
		state("polling");
		// Not all at the same time: many pages may have lost the server together.
		await pause(Math.min(15_000, 500 * 2 ** failures) * (0.75 + Math.random() / 2), signal);
	}
}

function pause(ms, signal) {
	return new Promise((done) => {
		const t = setTimeout(done, ms);
		signal.addEventListener("abort", () => { clearTimeout(t); done(); }, { once: true });
	});
}
