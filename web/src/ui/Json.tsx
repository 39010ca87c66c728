import { pretty } from "../lib/json";

export function Json({ value }: { value: unknown }) {
  const text = pretty(value);
  const shown = text.length > 20_000 ? `${text.slice(0, 20_000)}\n… ${text.length - 20_000} more characters` : text;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <pre className="json" tabIndex={0}>
      {shown}
    </pre>
  );
}
