// Several lines in one chart: of several runs, metrics or machines. Each has points of its own.

import uPlot from "uplot";
import { LEAST_DRAG, resetting, zoomTo, type Look, type Wires } from "./chart";
import * as format from "./format";
import { palette, resolved } from "./palette";
import { setData, xAxis, xRange, yAxis, yScale } from "./scales";
import type { XAxis } from "./view.svelte";

export interface Line {
  /** Unlike any other in the chart. */
  id: string;
  label: string;
  /** A CSS variable. */
  color: string;
  dashed: boolean;
  x: number[];
  y: (number | null)[];
}

type Shown = Pick<Look, "x" | "log" | "width" | "height">;

export function buildLines(
  look: Shown,
  lines: readonly Line[],
  target: HTMLElement,
  wires: Pick<Wires, "zoom" | "onZoom" | "onReset" | "onCursor">,
): uPlot {
  const colors = palette(lines[0]?.color ?? "--run-0");
  const { x, log, width, height } = look;
  const options: uPlot.Options = {
    width,
    height,
    legend: { show: false },
    padding: [8, 16, 0, 0],
    scales: {
      x: { time: false, range: (_, low, high) => xRange(wires.zoom(), low, high) },
      y: yScale(log),
    },
    axes: [xAxis({ x, palette: colors }), yAxis({ log, palette: colors })],
    series: [{}, ...lines.map(seriesOf)],
    cursor: {
      y: false,
      points: { show: false },
      drag: { x: true, y: false, setScale: false, dist: LEAST_DRAG },
      bind: resetting(wires.onReset),
    },
    hooks: {
      setCursor: [wires.onCursor],
      setSelect: [(chart) => zoomTo(chart, wires.onZoom)],
    },
  };
  const chart = new uPlot(options, [[], ...lines.map(() => [])], target);
  setData(chart, aligned(lines));
  return chart;
}

function seriesOf({ color, dashed }: Line): uPlot.Series {
  const stroke = resolved(color);
  const points = { filter: loneDots, size: 4, fill: stroke };
  return { stroke, width: 1.5, points, ...(dashed ? { dash: [5, 4] } : {}) };
}

/** Only a point between two gaps has a dot; where just other lines have points is no gap. */
const loneDots: uPlot.Series.Points.Filter = (chart, seriesIdx) =>
  lone(chart.data[seriesIdx] ?? []);

export function lone(values: ArrayLike<number | null | undefined>): number[] {
  const found: number[] = [];
  let [before, at]: [number | null, number] = [null, -1];
  for (let i = 0; i <= values.length; i++) {
    const value = i === values.length ? null : values[i];
    if (value === undefined) continue;
    if (at >= 0 && before === null && value === null) found.push(at);
    before = at < 0 ? null : at;
    at = value === null ? -1 : i;
  }
  return found;
}

/** All lines over the union of their x; a line has no gap where only others have a point. */
export function aligned(lines: readonly Line[]): uPlot.AlignedData {
  if (lines.length === 0) return [[]];
  return uPlot.join(lines.map((line): uPlot.AlignedData => [line.x, line.y]));
}

/** The value of a line at its point nearest to `x`; null where it has none. */
export function nearest(line: Line, x: number): number | null {
  let [low, high] = [0, line.x.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((line.x[middle] ?? Infinity) < x) low = middle + 1;
    else high = middle;
  }
  const [before, after] = [line.x[low - 1], line.x[low]];
  if (before === undefined && after === undefined) return null;
  const back = after === undefined || (before !== undefined && x - before < after - x);
  return line.y[back ? low - 1 : low] ?? null;
}

export function xText(x: number, axis: XAxis): string {
  if (axis === "time") return format.date(x);
  return axis === "relative" ? format.elapsed(x) : format.number(x);
}
