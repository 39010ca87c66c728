// What the Node peers' scripts share: peering.py and drive.py in JavaScript, and the same commands.
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { createRequire } from "node:module";

export const PAYLOAD = {
  to: "someone@example.com",
  subject: "Welcome!",
  body: "a payload of about 100 bytes as it comes",
};
export const URL = process.env.PEER_URL ?? "";
export const CONCURRENCY = Number(process.env.PEER_CONCURRENCY ?? "1");
const SLEEP_MS = 100;
const BATCH = 500;
const WARM_UP = 3;

// The packages lie in a cache folder, not beside the scripts.
export const load = createRequire(`${process.env.PEER_HOME}/`);

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const now = () => process.hrtime.bigint(); // CLOCK_MONOTONIC

class Meter {
  #chunk = Number(process.env.PEER_CHUNK ?? "1");
  #report = openSync(process.env.PEER_REPORT ?? "/dev/null", "a");
  #pipe;
  #count = 0;
  #first = 0n;

  done() {
    if (this.#count === 0) this.#first = now();
    this.#count += 1;
    if (this.#count >= this.#chunk) {
      writeSync(this.#report, `${this.#first} ${now()} ${this.#count}\n`);
      this.#count = 0;
    }
  }

  started() {
    const at = now();
    this.#pipe ??= openSync(process.env.PEER_PIPE, "w");
    writeSync(this.#pipe, `${at}\n`);
  }
}

// What a job of each kind does.
export function handlers() {
  const meter = new Meter();
  return {
    noop: async () => meter.done(),
    sleep: async () => {
      await sleep(SLEEP_MS);
      meter.done();
    },
    stamp: async () => meter.started(),
  };
}

async function fill(peer, kind, jobs) {
  const begun = now();
  for (let sent = 0; sent < jobs; sent += BATCH) await peer.many(kind, Math.min(BATCH, jobs - sent));
  return { jobs, seconds: Number(now() - begun) / 1e9 };
}

async function enqueue(peer, batch, seconds) {
  const begun = now();
  let jobs = 0;
  let spent = 0;
  while (spent < seconds) {
    await (batch === 1 ? peer.one("noop") : peer.many("noop", batch));
    jobs += batch;
    spent = Number(now() - begun) / 1e9;
  }
  return { jobs, seconds: spent };
}

async function latency(peer, jobs, gap) {
  const pipe = openSync(process.env.PEER_PIPE, "r+");
  const buffer = Buffer.alloc(64);
  const ms = [];
  for (let number = 0; number < WARM_UP + jobs; number += 1) {
    await sleep((gap / 4 + (Math.random() * 3 * gap) / 4) * 1000);
    const begun = now();
    await peer.one("stamp");
    const length = readSync(pipe, buffer); // blocks, as nothing else is under way
    if (number >= WARM_UP) ms.push(Number(BigInt(buffer.toString("utf8", 0, length).trim()) - begun) / 1e6);
  }
  closeSync(pipe);
  return { ms };
}

export async function main(peer) {
  const [name, ...rest] = process.argv.slice(2);
  if (name === "worker") {
    await peer.work();
    return;
  }
  await peer.connect();
  let answer;
  if (name === "fill") answer = await fill(peer, rest[0], Number(rest[1]));
  else if (name === "latency") answer = await latency(peer, Number(rest[0]), Number(rest[1]));
  else answer = await enqueue(peer, { one: 1, bulk: BATCH }[name], Number(rest[0]));
  await peer.close();
  console.log(JSON.stringify(answer));
}
