// The scales and axes of every chart, as uPlot takes them; `axis` and `timeaxis` have the numbers.

import uPlot from "uplot";
import {
  FARTHEST,
  linearRange,
  linearTicks,
  logLabelled,
  logRange,
  logTicks,
  SHRINK,
  wholeRange,
} from "./axis";
import { elapsedLabels, logLabel, ticks, timeLabels } from "./labels";
import type { Palette } from "./palette";
import { elapsedTicks, timeTicks } from "./timeaxis";
import type { XAxis } from "./view.svelte";

const FONT = "11px system-ui, sans-serif";
/** px of a character of that font, at most about. */
const LETTER = 6.4;
const X_SPACE = 64;
const Y_SPACE = 32;
const Y_WIDTH = 52;

/** How much smaller than its values a linear chart draws them, where these are near the largest double. */
const factors = new WeakMap<uPlot, number>();

/** Draws these columns. The distance of the values farthest apart must be a number: see SHRINK. */
export function setData(chart: uPlot, data: uPlot.AlignedData): void {
  const [x, ...columns] = data as [number[], ...Column[]];
  const far = chart.scales["y"]?.distr !== LOG && columns.some((column) => column.some(isFar));
  factors.set(chart, far ? SHRINK : 1);
  chart.setData(far ? [x, ...columns.map((column) => column.map(shrunk))] : data);
}

/** uPlot's name of it. */
const LOG = 3;
type Column = (number | null | undefined)[];

function isFar(value: number | null | undefined): boolean {
  return value !== null && value !== undefined && Math.abs(value) > FARTHEST;
}

function shrunk(value: number | null | undefined): number | null | undefined {
  return value === null || value === undefined ? value : value * SHRINK;
}

/** The value that a chart draws at one place. */
export function drawn(chart: uPlot, series: number, at: number): number | null {
  const value = chart.data[series]?.[at] ?? null;
  return value === null ? null : value / factorOf(chart);
}

function factorOf(chart: uPlot): number {
  return factors.get(chart) ?? 1;
}

export function yScale(log: boolean): uPlot.Scale {
  return { distr: log ? LOG : 1, log: 10, range: (_, low, high) => yRange(log, low, high) };
}

/** There is an axis of no values, too: without one what is at the left edge would be cut off. */
export function yRange(log: boolean, low: number | null, high: number | null): [number, number] {
  if (log) return low === null || high === null || low <= 0 ? [1, 10] : logRange(low, high);
  return low === null || high === null ? [0, 1] : linearRange(low, high);
}

export function xRange(
  zoom: [number, number] | null,
  low: number | null,
  high: number | null,
): [number, number] {
  if (zoom) return zoom;
  return low === null || high === null ? [0, 1] : wholeRange(low, high);
}

interface Kind {
  ticks: (low: number, high: number, most: number) => number[];
  labels: (values: readonly number[]) => string[];
}

const KINDS: Record<XAxis, Kind> = {
  step: { ticks: (low, high, most) => linearTicks(low, high, most, 1), labels: ticks },
  relative: { ticks: elapsedTicks, labels: elapsedLabels },
  time: { ticks: timeTicks, labels: timeLabels },
};

/** As many ticks as their own labels have room for. */
export function xTicks(x: XAxis, low: number, high: number, width: number): number[] {
  const kind = KINDS[x];
  let most = Math.max(2, Math.floor(width / X_SPACE));
  for (;;) {
    const found = kind.ticks(low, high, most);
    const needed = longest(kind.labels(found)) + 12;
    if (most === 2 || found.length * needed <= width) return found;
    most = Math.max(2, Math.min(most - 1, Math.floor(width / needed)));
  }
}

function longest(labels: readonly (string | null)[]): number {
  return LETTER * Math.max(0, ...labels.map((label) => label?.length ?? 0));
}

/** What is the same of both axes. uPlot's own search for a step is answered: ours is in `splits`. */
function common(palette: Palette): uPlot.Axis {
  return {
    stroke: palette.text,
    font: FONT,
    incrs: [Infinity],
    grid: { stroke: palette.grid, width: 1 },
    ticks: { show: false },
  };
}

export function xAxis({ x, palette }: { x: XAxis; palette: Palette }): uPlot.Axis {
  return {
    ...common(palette),
    size: 28,
    gap: 8,
    splits: (chart, _, low, high) => xTicks(x, low, high, chart.bbox.width / devicePixelRatio),
    values: (_, at) => KINDS[x].labels(at),
  };
}

export function yAxis({ log, palette }: { log: boolean; palette: Palette }): uPlot.Axis {
  const most = (chart: uPlot): number =>
    Math.max(2, Math.floor(chart.bbox.height / devicePixelRatio / Y_SPACE));
  return {
    ...common(palette),
    size: (_, labels) => Math.max(Y_WIDTH, Math.ceil(longest(labels ?? [])) + 12),
    gap: 6,
    splits: (chart, _, low, high) => (log ? logTicks : linearTicks)(low, high, most(chart)),
    filter: (chart, at) => (log ? logLabelled(at, most(chart)) : at),
    values: (chart, at) =>
      log ? at.map(logLabel) : ticks(at.map((value) => value / factorOf(chart))),
  };
}
