const $ = (id) => document.getElementById(id);

const socketUrl = (path) => `${location.protocol.replace("http", "ws")}//${location.host}${path}`;

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

// Writing only what differs keeps screen readers quiet between refreshes.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Services

const REFRESH_MS = 2000;
const STATE_TEXT = {
  failed: "failed, see the hub's log",
  crashing: "crashing, see the hub's log",
  ended: "ended, and not to be started again",
};

const rows = new Map();
let shownPage = "";
let refreshTimer = 0;
let refreshing = false;

function makeRow(path) {
  const row = {
    item: element("li", ""),
    state: element("p", "state"),
    show: element("button", "plain", "Show"),
    connect: element("button", "plain", "Connect"),
    option: new Option(path, path),
  };
  row.item.dataset.path = path;
  row.show.type = row.connect.type = "button";
  row.show.setAttribute("aria-label", `Show the page of ${path}`);
  row.connect.setAttribute("aria-label", `Connect the console to ${path}`);
  row.show.onclick = () => {
    showPage(path);
    $("page").scrollIntoView({ block: "nearest" });
  };
  row.connect.onclick = () => {
    $("path").value = path;
    connect();
    $("console").scrollIntoView({ block: "nearest" });
    $("text").focus({ preventScroll: true });
  };
  const buttons = element("div", "buttons");
  buttons.append(row.show, row.connect);
  row.item.append(element("p", "code", path), row.state, buttons);
  $("paths").append(row.option);
  rows.set(path, row);
  return row;
}

function updateRow(row, { state, clients, page }) {
  const count = clients === 1 ? "1 client" : `${clients} clients`;
  const text = STATE_TEXT[state] ?? state;
  row.state.dataset.state = state;
  setText(row.state, clients ? `${text}, ${count}` : text);
  row.show.hidden = !page;
  row.show.setAttribute("aria-pressed", String(row.item.dataset.path === shownPage));
}

function showServices(services) {
  const listed = new Set(services.map((service) => service.path));
  for (const [path, row] of rows) {
    if (listed.has(path)) continue;
    row.item.remove();
    row.option.remove();
    rows.delete(path);
  }

  // Rows are moved only when the order changed: moving one drops its focus.
  const list = $("services");
  services.forEach((service, index) => {
    const row = rows.get(service.path) ?? makeRow(service.path);
    const there = list.children[index];
    if (there !== row.item) list.insertBefore(row.item, there ?? null);
    updateRow(row, service);
  });

  $("idle-hint").hidden = !services.some((service) => service.state === "idle");
  const none = services.length === 0;
  if (none && $("none").hidden) $("example").open = true;
  $("none").hidden = !none;
}

function chooseDefaults(services) {
  const path = $("path");
  if (services.length && !path.dataset.chosen) {
    path.dataset.chosen = "true";
    path.value ||= rows.has("/echo") ? "/echo" : services[0].path;
  }
  if (!shownPage) {
    const pages = services.filter((service) => service.page).map((service) => service.path);
    if (pages.length) showPage(pages.includes("/demo_chatroom") ? "/demo_chatroom" : pages[0]);
  }
}

function showPage(path) {
  if (shownPage !== path) {
    shownPage = path;
    $("page-frame").src = location.origin + path;
    $("page-frame").title = `Page of ${path}`;
    $("page-link").href = location.origin + path;
    $("page-title").textContent = path;
  }
  $("page").hidden = false;
  for (const [other, row] of rows) row.show.setAttribute("aria-pressed", String(other === path));
}

async function refresh() {
  if (refreshing) return;
  refreshing = true;
  try {
    const response = await fetch("/_wshub/services.json", {
      cache: "no-store",
      signal: AbortSignal.timeout(10000),
    });
    if (!response.ok) throw new Error(response.statusText);
    const { version, services } = await response.json();
    setText($("version"), version);
    showServices(services);
    chooseDefaults(services);
    setText($("trouble"), "");
  } catch {
    setText($("trouble"), "The hub does not answer at the moment; this list may be out of date.");
  }
  refreshing = false;
  schedule(REFRESH_MS);
}

function schedule(delay) {
  clearTimeout(refreshTimer);
  if (!document.hidden) refreshTimer = setTimeout(refresh, delay);
}

// Console

const LINES = 500;
const TEXT_SHOWN = 4000;
const BYTES_SHOWN = 1024;
const CLOSE_TEXT = {
  1000: "normal closure",
  1001: "going away",
  1002: "protocol error",
  1003: "unsupported data",
  1005: "no code given",
  1006: "connection refused or lost",
  1007: "invalid data",
  1008: "policy violation",
  1009: "message too big",
  1011: "internal error",
  1012: "service restart",
  1013: "try again later",
};

const clock = new Intl.DateTimeFormat([], {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
});

let socket = null;
let waiting = [];

function addLine(way, size, body) {
  waiting.push({ time: new Date(), way, size, body });
  if (waiting.length > LINES) waiting.shift();
  // One update per repaint: a service may send thousands of frames a second.
  else if (waiting.length === 1) requestAnimationFrame(flush);
}

const note = (text) => addLine("", "", text);

function flush() {
  const log = $("frames");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(...waiting.map(makeLine));
  waiting = [];
  while (log.children.length > LINES) log.firstChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function makeLine({ time, way, size, body }) {
  const line = element("div", "frame");
  line.dataset.way = way;
  const when = element("time", "", clock.format(time));
  when.dateTime = time.toISOString();
  line.append(when);
  if (way) line.append(element("span", "way", way), element("span", "size", size));
  line.append(element("span", "body", body));
  return line;
}

function addFrame(way, data) {
  const binary = data instanceof ArrayBuffer;
  const size = binary ? data.byteLength : new TextEncoder().encode(data).length;
  addLine(way, `${binary ? "binary" : "text"} ${size} B`, binary ? hex(data) : shorten(data));
}

function hex(buffer) {
  const shown = new Uint8Array(buffer, 0, Math.min(buffer.byteLength, BYTES_SHOWN));
  const text = Array.from(shown, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const more = buffer.byteLength - shown.length;
  return more ? `${text} … ${more} more bytes` : text;
}

function shorten(text) {
  const more = text.length - TEXT_SHOWN;
  return more > 0 ? `${text.slice(0, TEXT_SHOWN)} … ${more} more characters` : text;
}

function closeText({ code, reason }) {
  const meaning = CLOSE_TEXT[code] ? ` (${CLOSE_TEXT[code]})` : "";
  return `code ${code}${meaning}${reason ? `, reason: ${reason}` : ""}`;
}

function showConsole(state, text) {
  $("console-state").dataset.state = state;
  setText($("console-state"), text);
  $("connect").textContent = socket ? "Disconnect" : "Connect";
  $("path").readOnly = Boolean(socket);
  $("send").disabled = state !== "running";
}

function connect() {
  disconnect();
  const path = `/${$("path").value.trim().replace(/^\/+/, "")}`;
  $("path").value = path;

  let opened;
  try {
    opened = new WebSocket(socketUrl(path));
  } catch (error) {
    note(`${path} cannot be opened: ${error.message}`);
    return;
  }
  socket = opened;
  opened.binaryType = "arraybuffer";
  showConsole("starting", `Connecting to ${path}`);

  opened.onopen = () => {
    note(`Connected to ${path}`);
    if (socket === opened) showConsole("running", `Connected to ${path}`);
  };
  opened.onmessage = (event) => addFrame("in", event.data);
  opened.onclose = (event) => {
    note(`Closed ${path}: ${closeText(event)}`);
    if (socket !== opened) return;
    socket = null;
    showConsole("idle", "Not connected");
  };
}

function disconnect() {
  socket?.close(1000);
  // Not waiting for the closing handshake, so that a new connection can start at once.
  socket = null;
  showConsole("idle", "Not connected");
}

function send() {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const text = $("text").value;
  socket.send(text);
  addFrame("out", text);
  $("text").select();
}

// Start

$("connect-form").onsubmit = (event) => {
  event.preventDefault();
  if (socket) disconnect();
  else connect();
};

$("send-form").onsubmit = (event) => {
  event.preventDefault();
  send();
};

$("path").oninput = () => { $("path").dataset.chosen = "true"; };

$("clear").onclick = () => {
  waiting = [];
  $("frames").replaceChildren();
};

document.addEventListener("visibilitychange", () => schedule(0));

$("example-url").textContent = socketUrl("/hello");
refresh();
