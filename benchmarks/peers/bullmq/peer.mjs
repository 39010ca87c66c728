// BullMQ: Redis lists and Lua; a job is locked while it runs, and moved to completed (here: removed) when it is done.
import { CONCURRENCY, PAYLOAD, URL, handlers, load, main } from "../shared/peering.mjs";

const { Queue, Worker } = load("bullmq");
const connection = { url: URL, maxRetriesPerRequest: null };
const defaultJobOptions = { removeOnComplete: true, removeOnFail: true };
let queue;

await main({
  async connect() {
    queue = new Queue("peer", { connection, defaultJobOptions });
    await queue.waitUntilReady();
  },
  one: (kind) => queue.add(kind, PAYLOAD),
  many: (kind, jobs) => queue.addBulk(Array.from({ length: jobs }, () => ({ name: kind, data: PAYLOAD }))),
  close: () => queue.close(),
  async work() {
    const run = handlers();
    const worker = new Worker("peer", (job) => run[job.name](), { connection, concurrency: CONCURRENCY });
    process.once("SIGTERM", () => worker.close().then(() => process.exit(0)));
  },
});
