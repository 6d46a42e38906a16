// One service: its charts, its output, what began and ended, and a connection to it.

import { Chart } from "./chart.js";
import { prepare, showHint } from "./connection.js";
import { $, appendLines, element, setData, setFacts, setHidden, setText } from "./dom.js";
import { formatBytes, formatCount, formatCounts, formatDuration, formatPercent, formatRate, formatTime } from "./format.js";
import { ask } from "./hub.js";

const LINES = 500;
const ENTRIES = 100;

const charts = [
  new Chart("Clients", [["", (sample) => sample.clients]], { format: (value) => formatCount(value ?? 0), least: 5 }),
  new Chart("Messages/s", [["in", (sample) => sample.received], ["out", (sample) => sample.sent]], { format: formatRate, least: 5 }),
  new Chart("CPU", [["", (sample) => sample.cpu]], { format: formatPercent, least: 10 }),
  new Chart("Memory", [["", (sample) => sample.memory]], { format: formatBytes, least: 10 << 20, unit: 1 << 20 }),
];
$("charts").append(...charts.map((chart) => chart.node));

let shown = null;
let after = 0;
let outputTotal = 0;

export function openDetail(path, data) {
  shown = path;
  setText($("detail-title"), path);
  prepare(data?.public.length ? `${data.public[0]}${path}` : "");
  forgetRecent();
}

export function closeDetail() {
  shown = null;
  prepare("");
}

// A hub that began anew numbers from 1.
export function forgetRecent() {
  after = outputTotal = 0;
  for (const id of ["output", "events", "closings"]) $(id).replaceChildren();
  showWhatIsThere();
}

// What /services said of it; `samples` are those of this page.
export function showDetail(data, samples) {
  const service = data.services.find(({ path }) => path === shown);
  if (!$("url").value && data.public.length) $("url").value = `${data.public[0]}${shown}`;
  showHint(explainConnecting(data));
  setData($("detail-state"), "state", service ? service.state : "idle");
  setText($("detail-state"), service ? service.state : "there is no such service");
  setText($("detail-process"), service?.pid ? `process ${service.pid}` : "");
  setText($("detail-error"), service?.last_error ?? "");
  setHidden($("detail-error"), !service?.last_error);
  for (const chart of charts) chart.show(samples.all);
  setFacts($("counts"), service ? describeCounts(service) : []);
}

function describeCounts(service) {
  return [
    ["Opened", formatCount(service.opened)],
    ["Closed, by code", formatCounts(service.closed)],
    ["Refused", formatCounts(service.refused)],
    ["Messages in", formatCount(service.received)],
    ["Messages out", formatCount(service.sent)],
    ["Dropped", formatCounts(service.dropped)],
    ["Starts", formatCount(service.starts)],
    ["Deaths", formatCounts(service.deaths)],
    ["Processor time", service.cpu === null ? "" : formatDuration(service.cpu)],
    ["Waiting for the service", formatBytes(service.waiting_for_service)],
    ["Waiting for clients", formatBytes(service.waiting_for_clients)],
  ];
}

function explainConnecting(data) {
  if (!data.public.length) return "The services are at no TCP port, so a page cannot connect to them.";
  if (data.may_connect) return "";
  return `The hub lets no page of ${location.origin} connect. To allow it, set origins = ["${location.origin}"], or --origin ${location.origin}.`;
}

// What happened since the last time; `history` gets what the hub has from before.
export async function refreshRecent(history) {
  const path = shown;
  if (!path) return;
  const data = await ask(`/recent?service=${encodeURIComponent(path)}&after=${after}`);
  if (shown !== path) return;
  history.of(path).putBefore(data.samples);
  const missed = data.output_total - outputTotal - data.output.length;
  const lines = data.output.map(makeOutputLine);
  if (missed > 0 && after) lines.unshift(element("div", "line quiet", `${formatCount(missed)} lines were too many and are not here`));
  appendLines($("output"), lines, LINES);
  after = data.last;
  outputTotal = data.output_total;
  setText($("output-note"), outputTotal > $("output").children.length ? `the last of ${formatCount(outputTotal)} lines` : "");
  prepend($("closings"), data.closings.map(makeClosing));
  const events = [...data.events, ...data.tracebacks].sort((a, b) => a.number - b.number);
  prepend($("events"), events.map(makeEvent));
  showWhatIsThere();
}

function showWhatIsThere() {
  setHidden($("closings-none"), $("closings").childElementCount > 0);
  setHidden($("closings").parentElement, $("closings").childElementCount === 0);
  setHidden($("events-none"), $("events").childElementCount > 0);
}

// The latest comes first.
function prepend(list, items) {
  if (items.length) list.prepend(...items.reverse());
  while (list.children.length > ENTRIES) list.lastElementChild.remove();
}

function makeTime(seconds) {
  const time = element("time", "", formatTime(seconds));
  time.dateTime = new Date(seconds * 1000).toISOString();
  time.title = new Date(seconds * 1000).toLocaleString();
  return time;
}

function makeOutputLine({ time, stream, level, text }) {
  const line = element("div", "line");
  line.dataset.stream = stream;
  line.dataset.level = level;
  line.append(makeTime(time), element("span", "stream", stream === "stderr" ? "err" : "out"), element("span", "body", text));
  return line;
}

function makeClosing({ time, client, port, seconds, code, reason }) {
  const row = element("tr");
  const at = element("td");
  at.append(makeTime(time));
  row.append(
    at,
    element("td", "code", port ? `${client}, port ${port}` : client),
    element("td", "number", formatDuration(seconds)),
    element("td", "number code", String(code)),
    element("td", "reason", reason),
  );
  return row;
}

function makeEvent({ time, text }) {
  const item = element("li");
  item.append(makeTime(time));
  if (text.includes("\n")) {
    const details = element("details");
    const lines = text.trimEnd().split("\n");
    details.append(element("summary", "code", lines.at(-1)), element("pre", "", text));
    details.lastElementChild.tabIndex = 0;
    item.append(details);
  } else {
    item.append(element("span", "", text));
    item.dataset.kind = /^(died|does not start)/.test(text) ? "bad" : "";
  }
  return item;
}
