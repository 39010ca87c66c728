// graphile-worker: Postgres rows, deleted when the job is done; the settings are those of its page on performance,
// and larger batches where the mode says so.
import { CONCURRENCY, PAYLOAD, URL, handlers, load, main } from "../shared/peering.mjs";

const { Logger, makeWorkerUtils, run } = load("graphile-worker");
const logger = new Logger(() => (level, message) => {
  if (level === "error") console.error(message);
});
const AHEAD = process.env.PEER_MODE === "ahead";
let utils;

await main({
  async connect() {
    utils = await makeWorkerUtils({ connectionString: URL, logger });
    await utils.migrate();
  },
  one: (kind) => utils.addJob(kind, PAYLOAD),
  many: (kind, jobs) => utils.addJobs(Array.from({ length: jobs }, () => ({ identifier: kind, payload: PAYLOAD }))),
  close: () => utils.release(),
  async work() {
    await run({
      taskList: handlers(),
      preset: {
        worker: {
          connectionString: URL,
          logger,
          concurrentJobs: CONCURRENCY,
          maxPoolSize: Math.min(CONCURRENCY + 1, 25),
          localQueue: { size: AHEAD ? 10_000 : Math.max(500, CONCURRENCY + 1) },
          completeJobBatchDelay: AHEAD ? 50 : 0,
          failJobBatchDelay: 0,
        },
      },
    });
  },
});
