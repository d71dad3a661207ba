// Requests to the API. The token is kept for this tab, and goes into a header: never into a URL.

const key = "taskhttp.token";
let token = null;
try {
	token = sessionStorage.getItem(key);
} catch {
	// The browser keeps nothing: the token lasts as long as the page.
}

export const hasToken = () => token !== null;

export function setToken(text) {
	token = text;
	try {
		if (text === null) sessionStorage.removeItem(key);
		else sessionStorage.setItem(key, text);
	} catch {
		// As above.
	}
}

// Problem is an answer that isn't what was asked for.
export class Problem extends Error {
	constructor(status, title, detail) {
		super(detail ? title + ": " + detail : title);
		this.status = status;
	}
}

// url makes a URL of segments and parameters. It is relative to the page, which may be mounted anywhere.
export function url(segments, query) {
	for (const s of segments) {
		if (s === "." || s === "..") throw new Problem(0, "A browser can't ask for a task with this id", s);
	}
	const u = new URL(segments.map(encodeURIComponent).join("/"), document.baseURI);
	u.hash = "";
	u.search = query ? new URLSearchParams(query).toString() : "";
	return u;
}

// request returns the answer, or throws a Problem.
export async function request(where, { method = "GET", headers = {}, signal } = {}) {
	const h = new Headers(headers);
	if (token !== null) h.set("Authorization", "Bearer " + token);
	let answer;
	try {
		answer = await fetch(where, { method, headers: h, signal, cache: "no-store", redirect: "error", referrerPolicy: "no-referrer" });
	} catch (e) {
		if (signal?.aborted) throw e;
		throw new Problem(0, "The server can't be reached");
	}
	if (answer.ok) return answer;
	let p = {};
	try {
		p = await answer.json();
	} catch {
		// It comes from something between here and the server.
	}
	throw new Problem(answer.status, p.title ?? "Answer of status " + answer.status, p.detail);
}

export async function get(where, signal) {
	return (await request(where, { signal })).json();
}

// text returns the first bytes of an answer as they are, and null if there is none. Numbers aren't looked at, which JavaScript would round.
export async function text(where, most, signal) {
	const answer = await request(where, { signal });
	if (answer.status !== 200) return null;
	const reader = answer.body.getReader();
	const decoder = new TextDecoder();
	let out = "", n = 0;
	for (;;) {
		const { done, value } = await reader.read();
		if (done) return { text: out + decoder.decode(), whole: true, size: n };
		const part = value.subarray(0, most - n);
		out += decoder.decode(part, { stream: true });
		n += part.length;
		if (part.length < value.length) {
			reader.cancel();
			return { text: out, whole: false, size: Number(answer.headers.get("Content-Length")) };
		}
	}
}
