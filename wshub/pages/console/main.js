// The console: asks the hub each second, and shows the view that the address names: "#/foo/bar" is a service.

import { closeDetail, forgetRecent, openDetail, refreshRecent, showDetail } from "./detail.js";
import { $, setFacts, setHidden, setText } from "./dom.js";
import { formatBytes, formatCount, formatDuration, formatPercent, formatTime } from "./format.js";
import { ask, forgetToken, hasToken, isToken, keepToken, needsToken, NotAllowed, takeToken } from "./hub.js";
import { focusRow, showServices } from "./overview.js";
import { History } from "./samples.js";

const REFRESH_MS = 1000;
const MOST_ANNOUNCED = 3;

const history = new History();
let data = null;
let states = new Map();
let view = "";
let lastAnswer = null;
let refreshTimer = 0;
let refreshing = false;
let wantsToken = false;

// Views

function route() {
  if (takeToken() && wantsToken) useToken();
  const path = decode(location.hash.slice(1));
  const before = view;
  view = path.startsWith("/") ? path : "";
  if (before && before !== view) closeDetail();
  if (view && before !== view) openDetail(view, data);
  document.title = view ? `${view} – wshub console` : "wshub console";
  showView();
  if (before !== view) {
    scrollTo(0, 0);
    if (view) $("detail-title").focus();
    else focusRow(before);
    schedule(0);
  }
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return ""; // half an escape: nothing that this page has written
  }
}

function showView() {
  setHidden($("entry"), !wantsToken);
  setHidden($("overview"), wantsToken || !data || Boolean(view));
  setHidden($("detail"), wantsToken || !data || !view);
  if (wantsToken || !data) return;
  if (view) showDetail(data, history.of(view));
  else showServices(data, history);
}

function showHub() {
  setText($("version"), data.version);
  const samples = history.of("").last;
  setFacts($("hub-facts"), [
    ["Up for", formatDuration(Math.max(0, data.time - data.began))],
    ["Connections", formatCount(data.connections)],
    ["CPU", formatPercent(samples?.cpu ?? null)],
    ["Memory", formatBytes(data.memory)],
    ["Lag", formatDuration(data.lag)],
    ["Not ready", data.not_ready.join(", ")],
  ]);
}

// What a screen reader is told: which services are in another state, and nothing else that changes each second.
function announce() {
  const now = new Map(data.services.map(({ path, state }) => [path, state]));
  const changed = [...now].filter(([path, state]) => states.has(path) && states.get(path) !== state);
  states = now;
  if (!changed.length) return;
  const said = changed.slice(0, MOST_ANNOUNCED).map(([path, state]) => `${path} is ${state}`);
  if (changed.length > MOST_ANNOUNCED) said.push(`and ${changed.length - MOST_ANNOUNCED} more`);
  setText($("announcements"), said.join(", "));
}

// Asking

async function refresh() {
  if (refreshing || wantsToken) return;
  refreshing = true;
  try {
    const answer = await ask("/services");
    if (data && data.began !== answer.began) {
      history.forget();
      forgetRecent();
    }
    data = answer;
    lastAnswer = new Date();
    history.add(data);
    setText($("trouble"), "");
    document.body.classList.remove("stale");
    announce();
    showHub();
    showView();
    await refreshRecent(history).catch(passOver);
  } catch (error) {
    if (error instanceof NotAllowed) askForToken("The hub does not take this token: it has another, perhaps since it was restarted.");
    else showTrouble();
  }
  refreshing = false;
  schedule(REFRESH_MS);
}

// A service that is not there has no recent past; that the hub does not answer is noticed the next time.
function passOver(error) {
  if (error instanceof NotAllowed) throw error;
}

function showTrouble() {
  const since = lastAnswer ? ` since ${formatTime(lastAnswer / 1000)}` : "";
  setText($("trouble"), `No answer from the hub${since}; trying again.`);
  document.body.classList.add("stale");
}

function schedule(delay) {
  clearTimeout(refreshTimer);
  if (!document.hidden && !wantsToken) refreshTimer = setTimeout(refresh, delay);
}

// The token

function askForToken(why) {
  forgetToken();
  wantsToken = true;
  setText($("trouble"), "");
  setText($("entry-error"), why);
  showView();
  $("token").focus();
}

$("entry-form").onsubmit = (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  $("token").value = "";
  if (!isToken(token)) {
    setText($("entry-error"), "That is no token: it consists of letters, digits, and -._~+/=");
    return;
  }
  keepToken(token);
  useToken();
};

function useToken() {
  setText($("entry-error"), "");
  wantsToken = false;
  showView();
  refresh();
}

// Start

async function start() {
  route();
  if (!hasToken() && (await needsToken().catch(() => false))) askForToken("");
  else refresh();
}

addEventListener("hashchange", route);
document.addEventListener("visibilitychange", () => schedule(0));
start();
