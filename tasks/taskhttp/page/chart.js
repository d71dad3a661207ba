// A line over time.

const svg = (name, attributes) => {
	const e = document.createElementNS("http://www.w3.org/2000/svg", name);
	for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
	return e;
};

export class Chart {
	constructor(seconds) {
		this.seconds = seconds;
		this.points = [];
		this.path = svg("path", { d: "" });
		this.element = svg("svg", { class: "chart", viewBox: "0 0 300 100", preserveAspectRatio: "none", role: "img" });
		this.element.append(this.path);
	}

	// add adds a point, and drops those that are too old. It returns the largest value.
	add(at, value, describe) {
		this.points.push({ at, value });
		while (this.points[0].at < at - this.seconds) this.points.shift();
		const most = Math.max(...this.points.map((p) => p.value), 1);
		const d = this.points.map((p, i) => (i ? "L" : "M") + (300 + ((p.at - at) / this.seconds) * 300).toFixed(1) + " " + (95 - (p.value / most) * 90).toFixed(1));
		this.path.setAttribute("d", d.join(""));
		this.element.setAttribute("aria-label", describe(value, most));
		return most;
	}
}
