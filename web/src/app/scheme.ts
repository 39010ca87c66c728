import { useState } from "react";

export type Scheme = "system" | "light" | "dark";
const NEXT: Record<Scheme, Scheme> = { system: "light", light: "dark", dark: "system" };

/** The colour scheme: light, dark, or the system's. public/scheme.js applies it before the first paint. */
export function useScheme(): [Scheme, () => void] {
  const [scheme, setScheme] = useState<Scheme>(() => (localStorage.getItem("scheme") as Scheme | null) ?? "system");
  const next = () => {
    const chosen = NEXT[scheme];
    setScheme(chosen);
    if (chosen === "system") {
      localStorage.removeItem("scheme");
      delete document.documentElement.dataset.scheme;
    } else {
      localStorage.setItem("scheme", chosen);
      document.documentElement.dataset.scheme = chosen;
    }
  };
  return [scheme, next];
}
