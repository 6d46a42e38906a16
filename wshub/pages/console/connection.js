// A WebSocket of this page's own to the service that is shown: frames to and fro, and its end.

import { $, appendLines, element, setData, setHidden, setText } from "./dom.js";
import { formatCount, formatExactTime, formatHex, parseHex } from "./format.js";

const LINES = 500;
const TEXT_SHOWN = 4000;
const REASON_BYTES = 123;
const MEANINGS = {
  1000: "normal closure", 1001: "going away", 1002: "protocol error", 1003: "unsupported data", 1005: "no code given",
  1006: "refused or lost", 1007: "invalid data", 1008: "policy violation", 1009: "message too big",
  1011: "internal error", 1012: "service restart", 1013: "try again later",
};

let socket = null;
let waiting = [];

function addLine(way, size, body) {
  waiting.push({ time: new Date(), way, size, body });
  if (waiting.length > LINES) waiting.shift();
  // One update a repaint: a service may send thousands of frames a second.
  else if (waiting.length === 1) requestAnimationFrame(flush);
}

const note = (text) => addLine("", "", text);

function flush() {
  const lines = waiting.map(makeLine);
  waiting = [];
  appendLines($("frames"), lines, LINES);
}

function makeLine({ time, way, size, body }) {
  const line = element("div", "line");
  line.dataset.way = way;
  line.append(element("time", "", formatExactTime(time)));
  if (way) line.append(element("span", "way", way), element("span", "size", size));
  line.append(element("span", "body", body));
  return line;
}

function addFrame(way, data) {
  const binary = typeof data !== "string";
  const size = binary ? data.byteLength : new TextEncoder().encode(data).length;
  addLine(way, `${binary ? "binary" : "text"} ${formatCount(size)} B`, binary ? formatHex(data) : shorten(data));
}

function shorten(text) {
  const more = text.length - TEXT_SHOWN;
  return more > 0 ? `${text.slice(0, TEXT_SHOWN)} … ${formatCount(more)} more characters` : text;
}

function show(state, text) {
  setData($("connection-state"), "state", state);
  setText($("connection-state"), text);
  setText($("connect"), socket ? "Disconnect" : "Connect");
  $("url").readOnly = Boolean(socket);
  $("send").disabled = $("close").disabled = state !== "running";
}

function connect() {
  const url = $("url").value.trim();
  let opened;
  try {
    opened = new WebSocket(url);
  } catch (error) {
    note(`${url} is no address of a WebSocket: ${error.message}`);
    return;
  }
  socket = opened;
  opened.binaryType = "arraybuffer";
  let wasOpen = false;
  show("starting", "Connecting");
  opened.onopen = () => {
    wasOpen = true;
    note(`Connected to ${url}`);
    if (socket === opened) show("running", "Connected");
  };
  opened.onmessage = (event) => addFrame("in", event.data);
  opened.onclose = ({ code, reason }) => {
    const meaning = MEANINGS[code] ? ` (${MEANINGS[code]})` : "";
    if (wasOpen) note(`Closed with ${code}${meaning}${reason ? `: ${reason}` : ""}`);
    else note("Not connected. A browser does not tell a page why; the hub's log has a line that does.");
    if (socket !== opened) return;
    socket = null;
    show("idle", wasOpen ? `Closed with ${code}` : "Not connected");
  };
}

// Let go of the connection without waiting for the other side, so that the next one can begin.
export function disconnect() {
  socket?.close(1000);
  socket = null;
  show("idle", "Not connected");
}

function send() {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const text = $("message").value;
  const binary = document.querySelector("input[name=kind]:checked").value === "binary";
  const data = binary ? parseHex(text)?.buffer : text;
  if (data === undefined) {
    note("Not sent: write the bytes as pairs of hex digits, such as 48 65 6c 6c 6f.");
    return;
  }
  socket.send(data);
  addFrame("out", data);
  $("message").select();
}

function close() {
  const code = Number($("close-code").value);
  const reason = $("close-reason").value;
  if (code !== 1000 && !(Number.isInteger(code) && code >= 3000 && code <= 4999)) {
    note("Not closed: a page may close with code 1000, or one from 3000 to 4999.");
  } else if (new TextEncoder().encode(reason).length > REASON_BYTES) {
    note(`Not closed: a reason has at most ${REASON_BYTES} bytes.`);
  } else {
    socket?.close(code, reason);
  }
}

// Another service is shown: `url` is where it is; `hint` says what is in the way, if anything is.
export function prepare(url) {
  disconnect();
  waiting = [];
  $("frames").replaceChildren();
  $("url").value = url;
}

export function showHint(hint) {
  setText($("connection-hint"), hint);
  setHidden($("connection-hint"), !hint);
}

function onSubmit(form, action) {
  $(form).onsubmit = (event) => {
    event.preventDefault();
    action();
  };
}

onSubmit("connect-form", () => (socket ? disconnect() : connect()));
onSubmit("send-form", send);
onSubmit("close-form", close);

$("message").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
};

$("clear").onclick = () => {
  waiting = [];
  $("frames").replaceChildren();
};
