import { useSyncExternalStore } from "react";

/** One ticker for the whole page, so that all times change together, once a second. */
const listeners = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

/** Without a ticker, a time older than this is renewed; a younger one is kept, so that one rendering sees one time. */
const STALE_MS = 50;

function snapshot(): number {
  if (timer === undefined && Date.now() - now > STALE_MS) now = Date.now();
  return now;
}

function subscribe(listener: () => void): () => void {
  if (listeners.size === 0) now = Date.now();
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const tell of listeners) tell();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0 && timer) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

export function useNow(): number {
  return useSyncExternalStore(subscribe, snapshot, snapshot);
}
