import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from "react";

type Live = { live: boolean; toggle: () => void };
const LiveContext = createContext<Live>({ live: true, toggle: () => {} });

/** Whether queries are repeated. The user can pause them; a hidden tab pauses too (TanStack Query's default). */
export function LiveProvider({ children }: { children: ReactNode }) {
  const [live, setLive] = useState(true);
  const value = useMemo(() => ({ live, toggle: () => setLive((was) => !was) }), [live]);
  useEffect(() => {
    document.documentElement.dataset.live = String(live);
  }, [live]);
  return <LiveContext value={value}>{children}</LiveContext>;
}

export const useLive = () => useContext(LiveContext);
