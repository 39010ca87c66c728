import { useEffect, useState } from "react";

const CONFIRM_MS = 4_000;

/** What a first click has asked for, for as long as a second one confirms it; and how to set it. */
export function useConfirmation<T>(): [T | null, (asked: T | null) => void] {
  const [asked, setAsked] = useState<T | null>(null);
  useEffect(() => {
    if (asked === null) return;
    const timer = setTimeout(() => setAsked(null), CONFIRM_MS);
    return () => clearTimeout(timer);
  }, [asked]);
  return [asked, setAsked];
}
