// pg-boss: Postgres rows, polled; a batch of jobs is fetched, handled, and completed as a whole.
import { CONCURRENCY, PAYLOAD, URL, handlers, load, main } from "../shared/peering.mjs";

const PgBoss = load("pg-boss");
const POLL_SECONDS = 0.5; // the least that it takes
let boss;

async function start() {
  boss = new PgBoss(URL);
  boss.on("error", (error) => console.error(error.message));
  await boss.start();
}

await main({
  async connect() {
    await start();
    for (const kind of ["noop", "sleep", "stamp"]) await boss.createQueue(kind);
  },
  one: (kind) => boss.send(kind, PAYLOAD),
  many: (kind, jobs) => boss.insert(Array.from({ length: jobs }, () => ({ name: kind, data: PAYLOAD }))),
  close: () => boss.stop({ graceful: false, wait: true }),
  async work() {
    await start();
    for (const [kind, handler] of Object.entries(handlers())) {
      const options = { batchSize: CONCURRENCY, pollingIntervalSeconds: POLL_SECONDS };
      await boss.work(kind, options, (jobs) => Promise.all(jobs.map(handler)));
    }
    process.once("SIGTERM", () => boss.stop({ graceful: false }).then(() => process.exit(0)));
  },
});
