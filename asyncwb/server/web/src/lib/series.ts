// One metric's buckets, decoded: finite numbers in arrays for the chart, everything else named.

import type { XKey } from "./api";
import type { WireMissing, WireNumber, WireSeries } from "./wire";

export type Oddity = "NaN" | "Infinity" | "-Infinity";

/** A place where the metric was not finite: drawn as a marker, never as a value. */
export interface Odd {
  x: number;
  what: Oddity;
}

export interface Series {
  key: string;
  axis: XKey;
  /** True when every bucket is one logged value, so min = mean = max. */
  exact: boolean;
  rows: number;
  x: number[];
  min: (number | null)[];
  max: (number | null)[];
  mean: (number | null)[];
  last: WireNumber[];
  count: number[];
  odd: Odd[];
  /** What is left out because it is damaged in the server's store, in words; empty: nothing. */
  missing: string;
}

const ODDITIES = new Set<unknown>(["NaN", "Infinity", "-Infinity"]);

function finite(value: WireNumber | undefined): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

export function decode(wire: WireSeries, axis: XKey): Series {
  const series: Series = {
    key: wire.key,
    axis,
    exact: wire.exact,
    rows: wire.rows,
    x: [],
    min: [],
    max: [],
    mean: [],
    last: [],
    count: [],
    odd: [],
    missing: (wire.missing ?? []).map(inWords).join("; "),
  };
  wire.x.forEach((wireX, i) => {
    const x = finite(wireX);
    if (x === null) return;
    series.x.push(x);
    series.min.push(finite(wire.min[i]));
    series.max.push(finite(wire.max[i]));
    series.mean.push(finite(wire.mean[i]));
    series.last.push(wire.last[i] ?? null);
    series.count.push(wire.count[i] ?? 0);
    for (const what of oddities(wire, i)) series.odd.push({ x, what });
  });
  return series;
}

function inWords(lost: WireMissing): string {
  const { rows, first_step, last_step, place, why } = lost;
  return `${rows} rows in steps ${first_step} to ${last_step} (${place}: ${why})`;
}

function oddities(wire: WireSeries, i: number): Oddity[] {
  const seen = new Set<unknown>([wire.min[i], wire.max[i], wire.mean[i], wire.last[i]]);
  if ((wire.valid[i] ?? 0) < (wire.count[i] ?? 0)) seen.add("NaN");
  return [...seen].filter((value): value is Oddity => ODDITIES.has(value));
}

/** On a log axis only what is above zero has a place; the rest become gaps (and are counted). */
export function positive(values: readonly (number | null)[]): (number | null)[] {
  return values.map((value) => (value !== null && value > 0 ? value : null));
}

/**
 * Exponential moving average over the shown points, free of the start's bias: the first points
 * are averages of what there is, not pulls towards zero. `weight` 0 (none) to below 1; gaps stay.
 */
export function smoothed(values: readonly (number | null)[], weight: number): (number | null)[] {
  let [sum, norm] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * weight + value * (1 - weight);
    norm = norm * weight + (1 - weight);
    return sum / norm;
  });
}

/** The value at one place of the chart: a number, or the word for what it was instead. */
export function valueAt(series: Series, i: number): number | Oddity | null {
  const mean = series.mean[i] ?? null;
  return mean ?? series.odd.find((odd) => odd.x === series.x[i])?.what ?? null;
}

/** The index of the last point at or before `x`; -1 when there is none. */
export function lastIndex(series: Series, x: number): number {
  let [low, high] = [0, series.x.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((series.x[middle] ?? Infinity) <= x) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
