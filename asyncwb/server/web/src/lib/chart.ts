// One metric as a uPlot chart: the envelope of all values as a band, the mean as a line.
//
// Series of a chart, in order: x, min, max (the band between them), the unsmoothed mean (drawn
// faint under a smoothed line, else empty) and the line. Every chart of a page is a member of one
// crosshair; a drag asks `onZoom` for a range instead of changing only this chart.

import uPlot from "uplot";
import * as format from "./format";
import type { Palette } from "./palette";
import { positive, smoothed, type Odd, type Series } from "./series";
import type { XAxis } from "./view.svelte";

export interface Look {
  x: XAxis;
  log: boolean;
  palette: Palette;
  width: number;
  height: number;
}

export interface Wires {
  crosshair: string;
  zoom: () => [number, number] | null;
  odd: () => readonly Odd[];
  onZoom: (from: number, to: number) => void;
  onReset: () => void;
  onCursor: (chart: uPlot) => void;
}

export const MEAN_LINE = 4;
export const LEAST_DRAG = 5;
const NOWHERE = { left: 0, top: 0, width: 0, height: 0 };

export function build(look: Look, wires: Wires, target: HTMLElement): uPlot {
  return new uPlot(options(look, wires), [[], [], [], [], []], target);
}

/** The columns to draw. On a log axis what is not above zero has no place. */
export function columns(series: Series, smoothing: number, log: boolean): uPlot.AlignedData {
  const shown = log ? positive : (values: (number | null)[]): (number | null)[] => values;
  const mean = shown(series.mean);
  const none = new Array<null>(series.x.length).fill(null);
  const soft = smoothing > 0;
  return [
    series.x,
    series.exact ? none : lifted(series, log),
    series.exact ? none : shown(series.max),
    soft ? mean : none,
    soft ? smoothed(mean, smoothing) : mean,
  ];
}

/** The lower edge of the band; on a log axis it ends at the mean where the minimum has no place. */
function lifted(series: Series, log: boolean): (number | null)[] {
  if (!log) return series.min;
  return series.min.map((low, i) => {
    const [mean, high] = [series.mean[i] ?? 0, series.max[i] ?? 0];
    if (low === null || low > 0) return low;
    return mean > 0 ? mean : high > 0 ? high : null;
  });
}

function options(look: Look, wires: Wires): uPlot.Options {
  const { palette, width, height } = look;
  const hidden = { stroke: "transparent", width: 0, points: { show: false } };
  const line = { width: 1.5, points: { filter: alone, size: 4, fill: palette.line } };
  return {
    width,
    height,
    legend: { show: false },
    padding: [8, 16, 0, 0],
    scales: {
      x: { time: look.x === "time", range: (_, low, high) => xRange(wires.zoom(), low, high) },
      y: yScale(look.log),
    },
    axes: [xAxis(look), yAxis(look)],
    series: [
      {},
      hidden,
      hidden,
      { stroke: palette.faint, width: 1, points: { show: false } },
      { stroke: palette.line, ...line },
    ],
    bands: [{ series: [2, 1], fill: palette.band }],
    cursor: cursor(look, wires),
    hooks: {
      draw: [(chart) => drawOdd(chart, wires.odd(), palette)],
      setCursor: [wires.onCursor],
      setSelect: [(chart) => zoomTo(chart, wires.onZoom)],
    },
  };
}

export function yScale(log: boolean): uPlot.Scale {
  if (log) return { distr: 3, log: 10, range: (_, low, high) => logRange(low, high) };
  return { distr: 1, range: (_, low, high) => yRange(low, high) };
}

/** A tenth of room above and below; uPlot would show what is always 0 on an axis up to 100. */
export function yRange(low: number | null, high: number | null): uPlot.Range.MinMax {
  if (low === null || high === null) return [null, null];
  return low === 0 && high === 0 ? [0, 1] : uPlot.rangeNum(low, high, 0.1, true);
}

export function xRange(
  zoom: [number, number] | null,
  low: number | null,
  high: number | null,
): [number, number] {
  if (zoom) return zoom;
  if (low === null || high === null) return [0, 1];
  return low < high ? [low, high] : [low - 1, high + 1];
}

/** Down and up to one significant digit, where a log axis has its ticks. */
export function logRange(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null || low <= 0) return [1, 10];
  const [from, to] = [oneDigit(low, Math.floor), oneDigit(high, Math.ceil)];
  return from < to ? [from, to] : [oneDigit(from * 0.9, Math.floor), oneDigit(to * 1.1, Math.ceil)];
}

function oneDigit(value: number, round: (value: number) => number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return round(Number((value / power).toPrecision(12))) * power;
}

function cursor({ palette }: Look, wires: Wires): uPlot.Cursor {
  return {
    sync: { key: wires.crosshair, setSeries: false, filters: { sub: isMove, pub: isMove } },
    drag: { x: true, y: false, setScale: false, dist: LEAST_DRAG },
    y: false,
    points: {
      // Only the mean's line carries a dot; uPlot takes false for none, its types do not say so.
      show: (_, series) => (series === MEAN_LINE && document.createElement("div")) as HTMLElement,
      size: 8,
      width: 2,
      fill: () => palette.line,
      stroke: () => palette.surface,
    },
    bind: resetting(wires.onReset),
  };
}

/** A double click shows everything, however uPlot would do that. */
export function resetting(onReset: () => void): uPlot.Cursor.Bind {
  return {
    dblclick: () => () => {
      onReset();
      return null;
    },
  };
}

/** The crosshair is shared; presses and drags stay with the chart under the pointer. */
function isMove(type: string): boolean {
  return type === "mousemove" || type === "mouseleave";
}

/** A range was chosen by dragging: says which, and takes the mark away. */
export function zoomTo(chart: uPlot, onZoom: Wires["onZoom"]): void {
  const { left, width } = chart.select;
  if (width < LEAST_DRAG) return;
  const [from, to] = [chart.posToVal(left, "x"), chart.posToVal(left + width, "x")];
  chart.setSelect(NOWHERE, false);
  if (from < to) onZoom(from, to);
}

/** A point between two gaps has no line: it gets a dot, however dense the rest. */
const alone: uPlot.Series.Points.Filter = (chart, seriesIdx, show) => {
  if (show) return null;
  const values = chart.data[seriesIdx] ?? [];
  const found: number[] = [];
  for (let i = 0; i < values.length; i++) {
    const lone = (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null;
    if ((values[i] ?? null) !== null && lone) found.push(i);
  }
  return found;
};

const FONT = "11px system-ui, sans-serif";

export function xAxis({ x, palette }: Pick<Look, "x" | "palette">): uPlot.Axis {
  const axis: uPlot.Axis = {
    stroke: palette.text,
    font: FONT,
    size: 28,
    gap: 8,
    space: 64,
    grid: { stroke: palette.grid, width: 1 },
    ticks: { show: false },
  };
  if (x === "step") return { ...axis, incrs: wholeSteps(), values: (_, at) => format.ticks(at) };
  if (x === "relative")
    return { ...axis, incrs: SECONDS, values: (_, at) => at.map((v) => format.elapsed(v)) };
  return {
    ...axis,
    space: 52,
    incrs: TIMES,
    values: (_, at, _axis, _space, step) => format.times(at, step),
  };
}

export function yAxis({ log, palette }: Pick<Look, "log" | "palette">): uPlot.Axis {
  return {
    stroke: palette.text,
    font: FONT,
    size: 52,
    gap: 6,
    space: 32,
    grid: { stroke: palette.grid, width: 1, ...(log ? { filter: decades } : {}) },
    ticks: { show: false },
    values: (_, at) => (log ? at.map(logTick) : format.ticks(at)),
  };
}

/** Over many powers of ten, the lines between them would run into a grey field. */
const MOST_FINE_DECADES = 5;
const decades: uPlot.Axis.Filter = (_, at) => {
  const [first = 1, last = 1] = [at[0], at.at(-1)];
  if (Math.log10(last / first) <= MOST_FINE_DECADES) return at;
  return at.map((value) => (isPowerOfTen(value) ? value : null));
};

function isPowerOfTen(value: number): boolean {
  const power = Math.log10(value);
  return Math.abs(power - Math.round(power)) < 1e-9;
}

/** uPlot passes null for the ticks of a log axis that are too close to carry text. */
function logTick(value: number | null): string | null {
  return value === null ? null : format.number(value);
}

function wholeSteps(): number[] {
  return Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((d) => d * 10 ** power)).flat();
}

const SECONDS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600,
  900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 432000, 864000, 2592000, 8640000,
];

/** Up to a month as above, then whole months and years: uPlot knows 30 and 365 days as those. */
const TIMES = [
  ...SECONDS.slice(0, -1),
  ...[3, 6].map((months) => months * 2592000),
  ...[1, 2, 5, 10].map((years) => years * 31536000),
];

/** Values that are not numbers: a cross at the bottom for NaN, an arrow at its edge for infinity. */
function drawOdd(chart: uPlot, odd: readonly Odd[], palette: Palette): void {
  const { ctx, bbox } = chart;
  const size = 3.5 * devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = palette.odd;
  ctx.fillStyle = palette.odd;
  ctx.lineWidth = 1.5 * devicePixelRatio;
  let drawn = "";
  for (const { x, what } of odd) {
    const at = Math.round(chart.valToPos(x, "x", true));
    const place = `${at} ${what}`;
    if (at < bbox.left || at > bbox.left + bbox.width || place === drawn) continue;
    drawn = place;
    if (what === "NaN") cross(ctx, at, bbox.top + bbox.height - 2 * size, size);
    else if (what === "Infinity") arrow(ctx, at, bbox.top, size, 1);
    else arrow(ctx, at, bbox.top + bbox.height, size, -1);
  }
  ctx.restore();
}

function cross(ctx: CanvasRenderingContext2D, x: number, y: number, size: number): void {
  ctx.beginPath();
  ctx.moveTo(x - size, y - size);
  ctx.lineTo(x + size, y + size);
  ctx.moveTo(x - size, y + size);
  ctx.lineTo(x + size, y - size);
  ctx.stroke();
}

/** A triangle whose tip touches the edge `y`; `down` is 1 when the chart lies below that edge. */
function arrow(
  ctx: CanvasRenderingContext2D,
  x: number,
  y: number,
  size: number,
  down: 1 | -1,
): void {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x - size, y + 2 * size * down);
  ctx.lineTo(x + size, y + 2 * size * down);
  ctx.fill();
}
