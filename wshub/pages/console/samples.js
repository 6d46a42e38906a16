// What the hub said each second, for as long as the page is open: counts become rates here.

const MOST = 300;
const CPU_SAMPLES = 5; // processor time is counted in hundredths of a second: over one second that is coarse

export class Samples {
  constructor() {
    this.all = [];
    this.raws = [];
  }

  // `raw` has the hub's time in seconds and counts that only grow, as /services has them.
  add(raw) {
    const rate = (name, since) => (since && raw.time > since.time ? Math.max(0, raw[name] - since[name]) / (raw.time - since.time) : null);
    const last = this.raws.at(-1);
    if (last && (last.pid !== raw.pid || last.cpu === null)) this.raws = [];
    const ofProcess = raw.cpu === null ? undefined : this.raws[0];
    this.raws.push(raw);
    if (this.raws.length > CPU_SAMPLES) this.raws.shift();
    this.all.push({
      time: raw.time,
      clients: raw.clients,
      received: rate("received", last),
      sent: rate("sent", last),
      cpu: ofProcess ? 100 * rate("cpu", ofProcess) : null,
      memory: raw.memory,
    });
    if (this.all.length > MOST) this.all.shift();
  }

  // What the hub has kept from before this page looked: coarser, and drawn as the rest.
  putBefore(raws) {
    const earlier = new Samples();
    const began = this.all[0]?.time ?? Infinity;
    for (const raw of raws) if (raw.time < began) earlier.add(raw);
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
    this.of("").add({ time: data.time, clients: data.connections, received: 0, sent: 0, pid: 0, cpu: data.cpu, memory: data.memory });
    for (const path of this.bySource.keys()) if (!listed.has(path)) this.bySource.delete(path);
  }
}

const pick = ({ clients, received, sent, pid, cpu, memory }) => ({ clients, received, sent, pid, cpu, memory });
