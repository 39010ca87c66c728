/** An integer that a JavaScript number cannot hold, as it was written. */
export class BigNumber {
  constructor(readonly text: string) {}
  toString() {
    return this.text;
  }
}

type Context = { source?: string };

/** JSON.parse that keeps big integers exact where the browser passes on the source text; decimals are as JSON.parse reads them. */
export function parseJson(text: string): unknown {
  const exact = (_key: string, value: unknown, context?: Context) => {
    const source = context?.source;
    if (typeof value !== "number" || !source) return value;
    return Number.isSafeInteger(value) || String(value) === source || !/^-?\d+$/.test(source)
      ? value
      : new BigNumber(source);
  };
  return JSON.parse(text, exact as (key: string, value: unknown) => unknown);
}

/** The value as JSON text, on one line. */
export function oneLine(value: unknown): string {
  return write(value, "", "");
}

/** The value as JSON text, indented. */
export function pretty(value: unknown): string {
  return write(value, "\n", "  ");
}

function write(value: unknown, newline: string, indent: string, depth = 0): string {
  if (value instanceof BigNumber) return value.text;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const inner = newline + indent.repeat(depth + 1);
  const outer = newline + indent.repeat(depth);
  const parts = Array.isArray(value)
    ? value.map((item) => write(item, newline, indent, depth + 1))
    : Object.entries(value).map(
        ([name, item]) => `${JSON.stringify(name)}:${newline ? " " : ""}${write(item, newline, indent, depth + 1)}`,
      );
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  return parts.length ? `${open}${inner}${parts.join(`,${inner}`)}${outer}${close}` : `${open}${close}`;
}
