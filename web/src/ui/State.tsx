import type { ShownState } from "../lib/state";

/** The shape carries the meaning, the colour repeats it. */
const SHAPES: Record<ShownState, React.ReactNode> = {
  scheduled: <path d="M8 2.2a5.800 5.800 0 1 0 0 11.600A5.800 5.800 0 0 0 8 2.200zM8 5v3.200l2.200 1.300" />,
  pending: <circle cx="8" cy="8" r="5.800" strokeDasharray="2.600 2" />,
  processing: (
    <>
      <circle cx="8" cy="8" r="5.800" />
      <path className="solid" d="M8 2.200a5.800 5.800 0 0 1 0 11.600z" />
    </>
  ),
  retrying: <path d="M13 5.500A5.800 5.800 0 1 0 13.800 8M13.500 2.200v3.500H10" />,
  completed: (
    <>
      <circle className="solid" cx="8" cy="8" r="6.500" />
      <path className="mark" d="m5 8.200 2.100 2.100L11.200 6" />
    </>
  ),
  failed: (
    <>
      <path className="solid" d="M5.300 1.500h5.400l3.800 3.800v5.400l-3.800 3.800H5.300l-3.800-3.800V5.300z" />
      <path className="mark" d="M8 4.500v4M8 11.200h.01" />
    </>
  ),
  cancelled: <path d="M8 2.200a5.800 5.800 0 1 0 0 11.600A5.800 5.800 0 0 0 8 2.200zM4 12l8-8" />,
};

export function StateMark({ state }: { state: ShownState }) {
  return (
    <svg className={`state-mark ${state}`} viewBox="0 0 16 16" aria-hidden="true">
      {SHAPES[state]}
    </svg>
  );
}

export function State({ state }: { state: ShownState }) {
  return (
    <span className={`state ${state}`}>
      <StateMark state={state} />
      {state}
    </span>
  );
}
