// One metric as a uPlot chart: the envelope of all values as a band, the mean as a line.
//
// Series of a chart, in order: x, min, max (the band between them), the unsmoothed mean (drawn
// faint under a smoothed line, else empty) and the line. Every chart of a page is a member of one
// crosshair; a drag asks `onZoom` for a range instead of changing only this chart.

import uPlot from "uplot";
import type { Palette } from "./palette";
import { xAxis, xRange, yAxis, yScale } from "./scales";
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
/** The columns of a chart that has nothing to draw yet. */
export const NONE: uPlot.AlignedData = [[], [], [], [], []];
const NOWHERE = { left: 0, top: 0, width: 0, height: 0 };

export function build(look: Look, wires: Wires, target: HTMLElement): uPlot {
  return new uPlot(options(look, wires), NONE, target);
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
      x: { time: false, range: (_, low, high) => xRange(wires.zoom(), low, high) },
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
