import { useState } from "react";
import { Icon } from "./Icon";

/** Copies text; works on plain HTTP too, where browsers have no clipboard for pages. */
export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    if (navigator.clipboard && window.isSecureContext) await navigator.clipboard.writeText(text);
    else copyOldWay(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1_500);
  };
  return (
    <button type="button" className="quiet" onClick={() => void copy()} aria-label={copied ? "Copied" : label}>
      <Icon name="copy" />
      {copied ? "Copied" : label === "Copy" ? "Copy" : ""}
    </button>
  );
}

function copyOldWay(text: string): void {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
