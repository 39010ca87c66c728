import { ago } from "../lib/format";
import { useNow } from "../lib/now";

/** A time of the API, as an age that moves; the exact time on hover. */
export function Ago({ time }: { time: string | null }) {
  const now = useNow();
  if (!time) return <>–</>;
  return (
    <time dateTime={time} title={new Date(time).toLocaleString()}>
      {ago(now - Date.parse(time))}
    </time>
  );
}
