import { useQuery } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useState } from "react";
import { overviewQuery } from "../api/queries";
import { type Sample, withSample } from "../lib/rates";
import { useLive } from "./live";

const HistoryContext = createContext<readonly Sample[]>([]);

/** Collects a sample from each answer of the overview, on whichever page, since this page was opened. */
export function HistoryProvider({ children }: { children: ReactNode }) {
  const { live } = useLive();
  const { data, dataUpdatedAt } = useQuery(overviewQuery(live));
  const [samples, setSamples] = useState<readonly Sample[]>([]);
  useEffect(() => {
    if (data) setSamples((before) => withSample(before, data, dataUpdatedAt));
  }, [data, dataUpdatedAt]);
  return <HistoryContext value={samples}>{children}</HistoryContext>;
}

export const useHistory = () => useContext(HistoryContext);
