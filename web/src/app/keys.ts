import { useEffect, useEffectEvent } from "react";

/** Does a key that is pressed here belong to a text field? */
function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement && (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable)
  );
}

/** Keys of the whole page: single ones, and two in a row such as "g j". */
export function useKeys(bindings: Record<string, () => void>): void {
  const press = useEffectEvent((keys: string) => {
    bindings[keys]?.();
    return keys in bindings;
  });
  useEffect(() => {
    let prefix = "";
    let timer: ReturnType<typeof setTimeout> | undefined;
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      const keys = prefix ? `${prefix} ${event.key}` : event.key;
      prefix = "";
      clearTimeout(timer);
      if (press(keys)) event.preventDefault();
      else if (event.key === "g") {
        prefix = "g";
        timer = setTimeout(() => {
          prefix = "";
        }, 1_500);
      }
    };
    window.addEventListener("keydown", onKey);
    return () => {
      window.removeEventListener("keydown", onKey);
      clearTimeout(timer);
    };
  }, []);
}
