// Curves as SVG: small ones beside a number, and larger ones with a scale and words for those who do not see them.

import { element, setText } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const SPARK = { width: 64, height: 18, seconds: 60 };
const CHART = { width: 300, height: 84, seconds: 300, gap: 30 };

function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// A curve of the last minute, which only repeats what the number beside it says.
export class Spark {
  constructor() {
    this.node = svg("svg", { class: "spark", viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, "aria-hidden": "true" });
    this.line = svg("polyline", {});
    this.node.append(this.line);
  }

  // What is no more than `least` does not fill the height.
  show(samples, read, least) {
    const now = samples.at(-1)?.time ?? 0;
    const shown = samples.slice(-SPARK.seconds).filter((sample) => now - sample.time <= SPARK.seconds);
    const most = Math.max(0, ...shown.map((sample) => read(sample) ?? 0));
    const top = Math.max(most, least);
    const x = (sample) => SPARK.width * (1 - (now - sample.time) / SPARK.seconds);
    const y = (sample) => SPARK.height - 1.5 - ((read(sample) ?? 0) / top) * (SPARK.height - 3);
    // Of what is always 0 there is nothing to see, nor to write.
    setAttribute(this.line, "points", most ? shown.map((sample) => `${x(sample).toFixed(1)},${y(sample).toFixed(1)}`).join(" ") : "");
  }
}

// A chart of the last five minutes. `curves` are [name, function of a sample]; `format` is for its values; its scale
// goes up to a round number of `unit`s, and to `least` when there is nothing to see.
export class Chart {
  constructor(title, curves, { format, least, unit = 1 }) {
    this.title = title;
    this.curves = curves;
    this.format = format;
    this.least = least;
    this.unit = unit;
    this.node = element("figure", `card chart${curves.length > 1 ? " two" : ""}`);
    this.caption = element("figcaption");
    this.name = element("span", "name", title);
    this.values = curves.map(([name], index) => {
      const value = element("span", "value");
      value.dataset.curve = index;
      if (name) value.append(element("span", "legend", name), " ");
      value.append(element("b"));
      return value;
    });
    this.caption.append(this.name, ...this.values);
    this.top = element("span", "scale");
    this.svg = svg("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, preserveAspectRatio: "none", role: "img" });
    for (const y of [0.5, CHART.height / 2, CHART.height - 0.5]) this.svg.append(svg("path", { class: "grid", d: `M0 ${y}H${CHART.width}` }));
    this.paths = curves.map((_, index) => svg("path", { class: "curve", "data-curve": index }));
    this.areas = curves.length === 1 ? [svg("path", { class: "area" })] : [];
    this.svg.append(...this.areas, ...this.paths);
    const plot = element("div", "plot");
    plot.append(this.svg, this.top);
    this.node.append(this.caption, plot);
  }

  show(samples) {
    const now = samples.at(-1)?.time ?? 0;
    const shown = samples.filter((sample) => now - sample.time <= CHART.seconds);
    const highest = this.curves.map(([, read]) => Math.max(0, ...shown.map((sample) => read(sample) ?? 0)));
    const top = this.unit * niceTop(Math.max(...highest, this.least) / this.unit);
    const words = [];
    this.curves.forEach(([name, read], index) => {
      const value = shown.length ? read(shown.at(-1)) : null;
      setText(this.values[index].lastElementChild, this.format(value));
      const runs = findRuns(shown, read, now, top);
      setAttribute(this.paths[index], "d", runs.map((run) => `M${run.map((point) => point.join(" ")).join("L")}`).join(""));
      if (this.areas[index]) {
        const area = (run) => `M${run[0][0]} ${CHART.height}L${run.map((point) => point.join(" ")).join("L")}L${run.at(-1)[0]} ${CHART.height}Z`;
        setAttribute(this.areas[index], "d", runs.map(area).join(""));
      }
      words.push(`${name ? `${name} ` : ""}now ${this.format(value)}, at most ${this.format(highest[index])}`);
    });
    setText(this.top, this.format(top));
    setAttribute(this.svg, "aria-label", `${this.title} in the last five minutes: ${words.join("; ")}`);
  }
}

// The points of a curve, in runs: where nobody asked for a while there is nothing to draw.
function findRuns(samples, read, now, top) {
  const runs = [];
  let last = -Infinity;
  for (const sample of samples) {
    const value = read(sample);
    if (value === null) continue;
    if (sample.time - last > CHART.gap) runs.push([]);
    last = sample.time;
    const x = CHART.width * (1 - (now - sample.time) / CHART.seconds);
    const y = CHART.height - 1 - (value / top) * (CHART.height - 2);
    runs.at(-1).push([x.toFixed(1), y.toFixed(1)]);
  }
  return runs;
}

// The next of 1, 2 or 5 times a power of ten.
function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((factor) => factor * power >= value * 0.999) * power;
}
