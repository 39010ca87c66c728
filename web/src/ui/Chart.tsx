import { useEffect, useEffectEvent, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

const HEIGHT = 140;

export type Line = { label: string; colour: string; dash?: number[]; values: number[] };

function variable(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Lines over time on a canvas. Colours are names of CSS variables, read anew when the scheme changes. */
export function Chart({ times, lines, label }: { times: number[]; lines: Line[]; label: string }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const data = (): uPlot.AlignedData => [times, ...lines.map((line) => line.values)];

  const draw = useEffectEvent(() => {
    const element = place.current;
    if (!element) return;
    plot.current?.destroy();
    const axis = {
      stroke: variable("--ink-3"),
      grid: { stroke: variable("--line"), width: 1 },
      ticks: { show: false },
      font: "11px 'Inter Variable', sans-serif",
    };
    plot.current = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false },
        scales: { y: { range: (_plot, _low, high) => [0, Math.max(1, high * 1.1)] } },
        axes: [
          {
            ...axis,
            space: 80,
            size: 26,
            values: (_plot, values) => values.map((at) => new Date(at * 1000).toLocaleTimeString()),
          },
          { ...axis, size: 42 },
        ],
        series: [
          {},
          ...lines.map((line) => ({
            label: line.label,
            stroke: variable(line.colour),
            width: 1.5,
            points: { show: false },
            ...(line.dash ? { dash: line.dash } : {}),
          })),
        ],
      },
      data(),
      element,
    );
  });

  const resize = useEffectEvent(() => {
    if (place.current) plot.current?.setSize({ width: place.current.clientWidth, height: HEIGHT });
  });

  useEffect(() => {
    draw();
    void document.fonts?.load("11px 'Inter Variable'").then(() => draw());
    const scheme = new MutationObserver(() => draw());
    scheme.observe(document.documentElement, { attributeFilter: ["data-scheme"] });
    const system = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => draw();
    system.addEventListener("change", redraw);
    const size = new ResizeObserver(() => resize());
    if (place.current) size.observe(place.current);
    return () => {
      scheme.disconnect();
      system.removeEventListener("change", redraw);
      size.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);

  const hasData = times.length >= 2;
  useEffect(() => {
    if (hasData) resize(); // it was hidden, so it had no width
  }, [hasData]);

  useEffect(() => {
    plot.current?.setData([times, ...lines.map((line) => line.values)]);
  }, [times, lines]);

  return (
    <div className="chart" role="img" aria-label={label}>
      {times.length < 2 && <p className="note">Waiting for data…</p>}
      <div ref={place} hidden={times.length < 2} />
    </div>
  );
}
