import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { clock, count, seconds } from "./format";
import type { Series } from "./gateway";

const colour = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Axis steps for counts, which are whole numbers. */
const WHOLE = [0, 1, 2, 3, 4, 5, 6].flatMap((power) => [1, 2, 5].map((first) => first * 10 ** power));

function options(width: number): uPlot.Options {
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const line = (label: string, name: string, scale: string, value: (shown: number) => string): uPlot.Series => ({
    label, scale, stroke: colour(name), width: 1.5, spanGaps: false,
    value: (_, shown) => (shown === null ? "–" : value(shown)),
    points: { show: true, size: 4, fill: colour(name), filter: (drawn, index) => alone(drawn.data[index]!) },
  });
  return {
    width, height: 150, legend: { live: true }, cursor: { y: false },
    scales: { calls: { range: (_, __, most) => [0, Math.max(1, most)] }, time: { range: (_, __, most) => [0, Math.max(0.1, most)] } },
    axes: [
      { ...axis, space: 90, size: 28, values: (_, ticks) => ticks.map(clock) },
      { ...axis, scale: "calls", size: 44, incrs: WHOLE, values: (_, ticks) => ticks.map(count) },
      { ...axis, scale: "time", side: 1, size: 56, grid: { show: false }, values: (_, ticks) => ticks.map(seconds) },
    ],
    series: [
      { label: "time", value: (_, at) => (at === null ? "–" : clock(at)) },
      { ...line("calls per 10 s", "--calm", "calls", count), fill: colour("--calm-fill") },
      line("failed", "--bad", "calls", count),
      line("latency p50", "--accent", "time", seconds),
      line("first token p50", "--warm", "time", seconds),
      { ...line("wait p95", "--faint", "time", seconds), dash: [4, 3] },
    ],
  };
}

/** Indices of values without a neighbour, which need a point because a line does not show them. */
const alone = (values: ArrayLike<number | null | undefined>): number[] =>
  Array.from(values, (value, at) => (value != null && values[at - 1] == null && values[at + 1] == null ? at : -1)).filter((at) => at >= 0);

/** Zeros only next to failures, so that there is no line along the axis where nothing failed. */
const happened = (values: number[]): (number | null)[] =>
  values.map((value, at) => (value || values[at - 1] || values[at + 1] ? value : null));

const data = (series: Series): uPlot.AlignedData =>
  [series.at, series.calls, happened(series.failed), series.total, series.first, series.waited] as uPlot.AlignedData;

/** The last 15 minutes of a model group. */
export function Chart({ series, label }: { series: Series; label: string }) {
  const place = useRef<HTMLDivElement>(null);
  const drawn = useRef<uPlot | null>(null);
  useEffect(() => {
    const home = place.current!;
    const draw = () => {
      drawn.current?.destroy();
      drawn.current = new uPlot(options(home.clientWidth), data(series), home);
    };
    draw();
    const sized = new ResizeObserver(() => drawn.current?.setSize({ width: home.clientWidth, height: 150 }));
    sized.observe(home);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", draw);
    return () => { sized.disconnect(); dark.removeEventListener("change", draw); drawn.current?.destroy(); };
  }, []);
  useEffect(() => drawn.current?.setData(data(series)), [series]);
  return <div class="chart" ref={place} role="img" aria-label={label} />;
}
