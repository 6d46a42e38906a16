// The table of all services, as a tree. A row is made once; from then on only what differs is written.

import { Spark } from "./chart.js";
import { $, element, setData, setHidden, setText } from "./dom.js";
import { formatBytes, formatCount, formatPercent, formatRate, plural } from "./format.js";
import { makeTree } from "./tree.js";

const COLUMNS = [
  { name: "Clients", read: (sample) => sample.clients, format: formatCount, spark: true, least: 2 },
  { name: "In", unit: "/s", read: (sample) => sample.received, format: formatRate, spark: true, least: 1 },
  { name: "Out", unit: "/s", read: (sample) => sample.sent, format: formatRate, spark: true, least: 1 },
  { name: "CPU", read: (sample) => sample.cpu, format: formatPercent, spark: true, least: 10 },
  { name: "Memory", read: (sample) => sample.memory, format: formatBytes, spark: false },
];

const rows = new Map();
const closed = new Set();
let order = "";
let services = [];

class Row {
  constructor({ path, depth, name, folder }) {
    this.path = path;
    this.node = element("tr");
    this.node.setAttribute("role", "row");
    this.node.dataset.path = path;
    this.node.dataset.depth = Math.min(depth, 6);
    this.cells = [];
    this.sparks = new Map();
    this.#addName(name, folder);
    this.state = element("span", "state");
    this.#add("td", "cell", "State").append(this.state);
    this.values = COLUMNS.map((column) => {
      const cell = this.#add("td", "cell", column.name, "number");
      if (column.spark) {
        const spark = new Spark();
        this.sparks.set(column, spark);
        cell.append(spark.node);
      }
      cell.append(element("span", "value"));
      return cell.lastElementChild;
    });
    this.restarts = element("span", "value");
    this.#add("td", "cell", "Restarts", "number").append(this.restarts);
  }

  #add(tag, role, label, className = "") {
    const cell = element(tag, className);
    cell.setAttribute("role", role);
    cell.dataset.label = label;
    this.node.append(cell);
    return cell;
  }

  #addName(name, folder) {
    const cell = this.#add("th", "rowheader", "Service", "name code");
    cell.scope = "row";
    if (folder) {
      this.toggle = element("button", "toggle");
      this.toggle.type = "button";
      this.toggle.setAttribute("aria-label", `Folder ${this.path}`);
      this.toggle.onclick = () => {
        if (!closed.delete(this.path)) closed.add(this.path);
        showRows();
      };
      cell.append(this.toggle);
    }
    this.link = element("a", "", name);
    this.link.href = `#${this.path}`;
    this.link.setAttribute("aria-label", this.path);
    this.folderName = element("span", "folder", name);
    cell.append(this.link, this.folderName);
  }

  // A folder that is no service has no figures of its own.
  show(service, samples) {
    setHidden(this.link, !service);
    setHidden(this.folderName, Boolean(service));
    setData(this.node, "kind", service ? "service" : "folder");
    this.text = service ? `${service.path} ${service.state}` : "";
    if (!service) return;
    setData(this.state, "state", service.state);
    setText(this.state, service.state);
    COLUMNS.forEach((column, index) => {
      const value = samples.last ? column.read(samples.last) : null;
      const text = column.format(value);
      setText(this.values[index], text);
      setData(this.values[index].parentElement, "zero", String(!value));
      this.sparks.get(column)?.show(samples.all, column.read, column.least);
    });
    setText(this.restarts, formatCount(service.restarts));
    setData(this.restarts.parentElement, "zero", String(!service.restarts));
    if (this.restarts.title !== service.last_error) this.restarts.title = service.last_error;
  }
}

export function showServices(data, history) {
  services = data.services;
  const byPath = new Map(services.map((service) => [service.path, service]));
  const tree = makeTree([...byPath.keys()]);
  const wanted = tree.map((row) => `${row.path}${row.folder ? "+" : ""}`).join("\n");
  if (wanted !== order) {
    order = wanted;
    placeRows(tree);
  }
  for (const { path } of tree) rows.get(path).show(byPath.get(path), history.of(path));
  const running = services.filter((service) => service.state === "running").length;
  const inTrouble = services.filter((service) => ["failed", "crashing"].includes(service.state)).length;
  setText($("summary"), `${plural(services.length, "service")}, ${running} running${inTrouble ? `, ${inTrouble} in trouble` : ""}`);
  showRows();
}

// Rows that stay are not taken out of the document: that would lose the focus.
function placeRows(tree) {
  const listed = new Map(tree.map((row) => [row.path, row]));
  for (const [path, row] of rows) {
    if (listed.has(path) && Boolean(row.toggle) === listed.get(path).folder) continue;
    row.node.remove();
    rows.delete(path);
  }
  const body = $("rows");
  tree.forEach((entry, index) => {
    if (!rows.has(entry.path)) rows.set(entry.path, new Row(entry));
    const row = rows.get(entry.path);
    row.parents = entry.parents;
    if (body.children[index] !== row.node) body.insertBefore(row.node, body.children[index] ?? null);
  });
}

function showRows() {
  const filter = $("filter").value.trim().toLowerCase();
  const shown = new Set();
  for (const row of rows.values()) {
    const matches = filter ? row.text.toLowerCase().includes(filter) : !row.parents.some((folder) => closed.has(folder));
    if (!matches) continue;
    shown.add(row.path);
    for (const folder of row.parents) shown.add(folder);
  }
  for (const row of rows.values()) {
    setHidden(row.node, !shown.has(row.path));
    const open = filter ? "true" : String(!closed.has(row.path));
    if (row.toggle && row.toggle.getAttribute("aria-expanded") !== open) row.toggle.setAttribute("aria-expanded", open);
  }
  setHidden($("nothing"), shown.size > 0);
  setText($("nothing"), filter ? `No service has “${filter}” in its path or state.` : "There are no services in the folder yet.");
}

export function focusRow(path) {
  const link = rows.get(path)?.link;
  (link?.offsetParent ? link : $("overview-title")).focus();
}

$("filter").oninput = showRows;

// Up and down from service to service; Tab reaches all of them as well.
$("rows").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
  const links = [...$("rows").querySelectorAll("a")].filter((link) => link.offsetParent);
  const row = event.target.closest("tr");
  const own = links.findIndex((link) => row.contains(link));
  const next = own >= 0 ? links[own + step] : links.find((link) => row.compareDocumentPosition(link) & Node.DOCUMENT_POSITION_FOLLOWING);
  if (next) {
    event.preventDefault();
    next.focus();
  }
});
