// Numbers, times and bytes as people read them.

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const exactClock = new Intl.DateTimeFormat("en", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
});

export const formatCount = (value) => number.format(value);

export function formatRate(value) {
  if (value === null) return "–";
  return value > 0 && value < 9.95 ? value.toFixed(1).replace(/\.0$/, "") : number.format(value);
}

export function formatPercent(value) {
  if (value === null) return "–";
  return `${value > 0 && value < 9.95 ? value.toFixed(1) : number.format(value)} %`;
}

export function formatBytes(value) {
  if (value === null) return "–";
  let unit = "B";
  for (const next of ["KiB", "MiB", "GiB"]) {
    if (value < 1000) break;
    value /= 1024;
    unit = next;
  }
  return `${unit === "B" || value >= 99.95 ? number.format(value) : value.toFixed(1)} ${unit}`;
}

export function formatDuration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 9.95 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}

export const formatTime = (seconds) => clock.format(new Date(seconds * 1000));
export const formatExactTime = (date) => exactClock.format(date);

export function plural(count, one, many = `${one}s`) {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

// {"1000": 3, "1006": 1} as "1000: 3, 1006: 1".
export const formatCounts = (counts) =>
  Object.entries(counts).map(([name, count]) => `${name}: ${formatCount(count)}`).join(", ");

const BYTES_SHOWN = 1024;

export function formatHex(buffer) {
  const shown = new Uint8Array(buffer, 0, Math.min(buffer.byteLength, BYTES_SHOWN));
  const text = Array.from(shown, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const more = buffer.byteLength - shown.length;
  return more ? `${text} … ${formatCount(more)} more bytes` : text;
}

// The bytes that hex digits mean, in pairs, with blanks, commas or colons between them; null if they mean none.
export function parseHex(text) {
  const digits = text.replace(/0x|[\s,:]/gi, "");
  if (!/^([0-9a-f]{2})*$/i.test(digits)) return null;
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
