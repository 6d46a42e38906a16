// What the hub said each second, for as long as the page is open: counts become rates here.

const MOST = 300;
const CPU_SAMPLES = 5; // processor time is counted in hundredths of a second: over one second that is coarse

export class Samples {
  constructor() {
    this.all = [];
    this.raw = null;
    this.usages = [];
  }

  // `raw` has the hub's time in seconds and counts that only grow, as /services has them.
  add(raw) {
    const last = this.raw;
    const rate = (name) => (last && raw.time > last.time ? Math.max(0, raw[name] - last[name]) / (raw.time - last.time) : null);
    this.raw = raw;
    this.all.push({
      time: raw.time,
      clients: raw.clients,
      received: rate("received"),
      sent: rate("sent"),
      cpu: this.#addUsage(raw),
      memory: raw.memory,
    });
    if (this.all.length > MOST) this.all.shift();
  }

  // Percent of a processor, over the last few times that the process was looked at.
  #addUsage({ pid, cpu, measured }) {
    const last = this.usages.at(-1);
    if (last && last.pid !== pid) this.usages = [];
    if (cpu === null) return null;
    if (measured !== last?.measured) this.usages.push({ pid, cpu, measured });
    if (this.usages.length > CPU_SAMPLES) this.usages.shift();
    const [first, latest] = [this.usages[0], this.usages.at(-1)];
    return latest.measured > first.measured ? (100 * (latest.cpu - first.cpu)) / (latest.measured - first.measured) : null;
  }

  // What the hub has kept from before this page looked: coarser, and drawn as the rest.
  putBefore(raws) {
    const earlier = new Samples();
    const began = this.all[0]?.time ?? Infinity;
    for (const raw of raws) if (raw.time < began) earlier.add({ ...raw, measured: raw.time });
    this.all.unshift(...earlier.all);
    if (this.all.length > MOST) this.all.splice(0, this.all.length - MOST);
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
    this.of("").add({ time: data.time, clients: data.connections, received: 0, sent: 0, pid: 0, cpu: data.cpu, measured: data.time, memory: data.memory });
    for (const path of this.bySource.keys()) if (!listed.has(path)) this.bySource.delete(path);
  }
}

const pick = ({ clients, received, sent, pid, cpu, measured, memory }) => ({ clients, received, sent, pid, cpu, measured, memory });
