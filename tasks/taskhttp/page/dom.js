// What puts text on the page. Nothing that a task holds is ever taken for markup: all of it goes through textContent.

export const $ = (id) => document.getElementById(id);

// Characters that aren't seen, or that change the order of others: they are shown by their numbers.
const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

export const visible = (text) => String(text).replace(hidden, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

// el makes an element of text and other elements.
export function el(name, attributes = {}, ...children) {
	const e = document.createElement(name);
	for (const [key, value] of Object.entries(attributes)) {
		if (value === true) e.setAttribute(key, "");
		else if (value !== false && value != null) e.setAttribute(key, value);
	}
	for (const child of children) e.append(child instanceof Node ? child : visible(child));
	return e;
}

// setText leaves alone what is right already, so that a live region isn't read out again.
export function setText(e, text) {
	const shown = visible(text);
	if (e.textContent !== shown) e.textContent = shown;
}

// terms fills a definition list in place with names and values; null leaves one out.
export function terms(dl, list) {
	const rows = list.filter(([, value]) => value != null && value !== "");
	while (dl.children.length > rows.length) dl.lastElementChild.remove();
	while (dl.children.length < rows.length) dl.append(el("div", {}, el("dt"), el("dd")));
	rows.forEach(([name, value, small], i) => {
		const [dt, dd] = dl.children[i].children;
		setText(dt, name);
		const text = visible(value) + "\n" + (small ?? "");
		if (dd.dataset.text === text) return;
		dd.dataset.text = text;
		dd.replaceChildren(visible(value));
		if (small) dd.append(el("span", { class: "small" }, small));
	});
}

const statuses = { pending: ["pending", "quiet"], processing: ["processing", "busy"], completed: ["completed", "good"], error: ["failed", "bad"] };

export function badge(task) {
	const [name, kind] = statuses[task.status] ?? [task.status, "warn"];
	return el("span", { class: "badge " + kind }, task.cancelled ? "cancelled" : name);
}

const numbers = new Intl.NumberFormat("en");
export const number = (n) => numbers.format(n);
export const rate = (n) => (n >= 10 ? number(Math.round(n)) : String(Math.round(n * 100) / 100)) + "/s";

export function duration(seconds) {
	if (seconds < 0.001) return Math.round(seconds * 1e6) + " µs";
	if (seconds < 1) return Math.round(seconds * 1e3) + " ms";
	if (seconds < 60) return Math.round(seconds * 10) / 10 + " s";
	if (seconds < 3600) return Math.floor(seconds / 60) + " min" + (Math.floor(seconds % 60) ? " " + Math.floor(seconds % 60) + " s" : "");
	return Math.floor(seconds / 3600) + " h " + Math.floor((seconds % 3600) / 60) + " min";
}

export function bytes(n) {
	for (const unit of ["B", "KiB", "MiB", "GiB"]) {
		if (n < 1024 || unit === "GiB") return (unit === "B" ? n : n.toFixed(1)) + " " + unit;
		n /= 1024;
	}
}

export function time(text) {
	if (!text) return "";
	const d = new Date(text);
	return Number.isNaN(d.getTime()) ? text : d.toLocaleString("sv-SE");
}
