// Asks the hub. The token is kept for this tab alone, and goes into a header, never into an address.

const KEY = "wshub token";
const PATIENCE_MS = 5000;

export class NotAllowed extends Error {}

export const isToken = (text) => /^[\w.~+/=-]+$/.test(text);
export const keepToken = (token) => sessionStorage.setItem(KEY, token);
export const forgetToken = () => sessionStorage.removeItem(KEY);
export const hasToken = () => Boolean(sessionStorage.getItem(KEY));

// What comes after "#token=" in the address is kept and taken out of there, also out of the tab's history. Return whether
// there was anything.
export function takeToken() {
  const match = /^#token=(.+)$/.exec(location.hash);
  if (!match) return false;
  history.replaceState(null, "", location.pathname + location.search);
  if (isToken(match[1])) keepToken(match[1]);
  return true;
}

export async function needsToken() {
  const response = await fetch("/console/needs-token", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  return (await response.text()).trim() === "yes";
}

export async function ask(path) {
  const token = sessionStorage.getItem(KEY);
  const response = await fetch(path, {
    headers: token ? { Authorization: `Bearer ${token}` } : {},
    cache: "no-store",
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (response.status === 401) throw new NotAllowed();
  if (!response.ok) throw new Error((await response.text()).trim());
  return response.json();
}
