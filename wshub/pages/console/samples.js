// What the hub said each second, for as long as the page is open: counts become rates here.

export const MOST = 300;

export class Samples {
  constructor() {
    this.all = [];
    this.raw = null;
  }

  // `raw` has the hub's time in seconds and counts that only grow, as /services has them.
  add(raw) {
    const last = this.raw;
    const seconds = last ? raw.time - last.time : 0;
    const rate = (name) => (seconds > 0 ? Math.max(0, raw[name] - last[name]) / seconds : null);
    const sameProcess = last && last.pid === raw.pid && raw.cpu !== null && last.cpu !== null;
    this.raw = raw;
    this.all.push({
      time: raw.time,
      clients: raw.clients,
      received: rate("received"),
      sent: rate("sent"),
      cpu: raw.cpu === null ? null : sameProcess ? 100 * rate("cpu") : null,
      memory: raw.memory,
    });
    if (this.all.length > MOST) this.all.shift();
  }

  get last() {
    return this.all.at(-1);
  }
}

// The samples of each service, by path, and of the hub itself, as "".
export class History {
  constructor() {
    this.bySource = new Map();
  }

  // A hub that began anew counts from 0.
  forget() {
    this.bySource.clear();
  }

  of(path) {
    let samples = this.bySource.get(path);
    if (!samples) this.bySource.set(path, (samples = new Samples()));
    return samples;
  }

  add(data) {
    const listed = new Set([""]);
    for (const service of data.services) {
      listed.add(service.path);
      this.of(service.path).add({ ...pick(service), time: data.time });
    }
    this.of("").add({ time: data.time, clients: data.connections, received: 0, sent: 0, pid: 0, cpu: data.cpu, memory: data.memory });
    for (const path of this.bySource.keys()) if (!listed.has(path)) this.bySource.delete(path);
  }
}

const pick = ({ clients, received, sent, pid, cpu, memory }) => ({ clients, received, sent, pid, cpu, memory });
