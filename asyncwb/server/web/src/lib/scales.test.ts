import fc from "fast-check";
import { expect, test } from "vitest";
import { FARTHEST, linearTicks, logLabelled, logTicks, SHRINK } from "./axis";
import { elapsedLabels, logLabel, ticks, timeLabels } from "./labels";
import { xRange, xTicks, yRange } from "./scales";
import type { XAxis } from "./view.svelte";

/** ms that an axis may take, on a busy machine; it takes far below one. */
const SOON = 2000;
const RUNS = { numRuns: 2000 };

/** Doubles of every magnitude alike, of both signs, and 0. */
const value = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc
    .tuple(fc.constantFrom(-1, 1), fc.double({ min: 1, max: 9.99, noNaN: true }), fc.integer({ min: -324, max: 308 }))
    .map(([sign, digits, exponent]) => sign * Number(`${digits}e${exponent}`))
    .filter(Number.isFinite),
  fc.constantFrom(0, 5e-324, 1e-323, 2.2e-308, 1, 2 ** 53, 2 ** 63, Number.MAX_VALUE),
);
const pair = fc.tuple(value, value).map(([a, b]): [number, number] => [Math.min(a, b), Math.max(a, b)]);
/** Two values that differ in their last digits, where an axis has to count finely. */
const close = fc
  .tuple(value, fc.integer({ min: 0, max: 100 }))
  .map(([a, ulps]): [number, number] => [a, a + ulps * Math.abs(a) * Number.EPSILON])
  .filter(([, high]) => Number.isFinite(high));
const most = fc.integer({ min: 2, max: 30 });

function within<T>(limit: number, work: () => T): T {
  const began = performance.now();
  const done = work();
  expect(performance.now() - began).toBeLessThan(limit);
  return done;
}

function expectAxis(at: readonly number[], labels: readonly (string | null)[], least = 2): void {
  const shown = labels.filter((label) => label !== null);
  expect(shown.length).toBeGreaterThanOrEqual(least);
  expect(shown.every((label) => label !== "" && !/NaN|∞/.test(label))).toBe(true);
  expect(new Set(shown).size).toBe(shown.length);
  expect(at.every((value, i) => i === 0 || value > (at[i - 1] ?? Infinity))).toBe(true);
}

test("a linear axis holds every value, with few ticks whose labels differ", () => {
  const check = ([low, high]: [number, number], most: number): void => {
    const factor = Math.max(-low, high) > FARTHEST ? SHRINK : 1; // as setData draws it
    within(SOON, () => {
      const [from, to] = yRange(false, low * factor, high * factor) as [number, number];
      expect([from < to, from <= low * factor, to >= high * factor]).toEqual([true, true, true]);
      expect(Number.isFinite(to - from)).toBe(true);
      const at = linearTicks(from, to, most);
      expect(at.length).toBeLessThanOrEqual(2 * most + 2);
      expectAxis(at, ticks(at.map((value) => value / factor)), 1);
    });
  };
  fc.assert(fc.property(fc.oneof(pair, close), most, check), RUNS);
});

test("a logarithmic axis holds every value above zero, with few ticks whose labels differ", () => {
  const check = ([a, b]: [number, number], most: number): void => {
    const [low, high] = [Math.min(Math.abs(a), Math.abs(b)), Math.max(Math.abs(a), Math.abs(b))];
    within(SOON, () => {
      const [from, to] = yRange(true, low, high) as [number, number];
      const near = high * (1 - 1e-11); // 0.30000000000000004 needs no axis up to 0.4
      if (low > 0) expect([from <= low, from < to, to >= near]).toEqual([true, true, true]);
      const at = logTicks(from, to, most);
      expect(at.length).toBeLessThanOrEqual(Math.max(55, most + 2));
      const labelled = logLabelled(at, most);
      expect(labelled.filter((value) => value !== null).length).toBeLessThanOrEqual(most + 3);
      expectAxis(at, labelled.map(logLabel));
    });
  };
  fc.assert(fc.property(fc.oneof(pair, close), most, check), RUNS);
});

test("every horizontal axis has few ticks, whatever is logged as a step or a time", () => {
  const axis = fc.constantFrom<XAxis>("step", "relative", "time");
  const labels = { step: ticks, relative: elapsedLabels, time: timeLabels };
  const check = (x: XAxis, [low, high]: [number, number], width: number): void => {
    within(SOON, () => {
      const [from, to] = xRange(null, low, high);
      expect(from).toBeLessThan(to);
      const at = xTicks(x, from, to, width);
      expect(at.length).toBeLessThanOrEqual(width / 20);
      const said = labels[x](at);
      const twice = said.some((label, i) => label === "" || label === said[i - 1]);
      expect([twice, at.some((value, i) => value <= (at[i - 1] ?? -Infinity))]).toEqual([false, false]);
    });
  };
  const width = fc.integer({ min: 100, max: 3000 });
  fc.assert(fc.property(axis, fc.oneof(pair, close), width, check), RUNS);
});

test("a flat line has an axis around it, and zero one that says so", () => {
  expect(yRange(false, 0, 0)).toEqual([0, 1]);
  expect(yRange(false, null, null)).toEqual([0, 1]);
  expect(yRange(false, 3, 3)).toEqual([0, 6]);
  expect(yRange(true, 3, 3)).toEqual([1, 6]);
  expect(yRange(true, null, null)).toEqual([1, 10]);
  expect(xRange(null, 7, 7)).toEqual([6, 8]);
  expect(xRange(null, 2 ** 63, 2 ** 63)[1]).toBeGreaterThan(2 ** 63);
});

test("an axis of usual values reads as people write them", () => {
  expect(yRange(false, 0.1, 2.1)).toEqual([0, 2.3]);
  expect(linearTicks(0, 2.3, 4)).toEqual([0, 1, 2]);
  expect(linearTicks(-1.1, 1.1, 5)).toEqual([-1, -0.5, 0, 0.5, 1]);
  expect(xTicks("step", 0, 5999, 400)).toEqual([0, 1000, 2000, 3000, 4000, 5000]);
  expect(xTicks("relative", 0, 3600, 400)).toEqual([0, 600, 1200, 1800, 2400, 3000, 3600]);
  expect(logLabelled(logTicks(0.1, 3, 4), 4).filter((at) => at !== null)).toEqual([0.1, 1]);
});

test("days, months and years begin where they do here", () => {
  const at = (text: string): number => Date.parse(`${text}T00:00`) / 1000;
  const year = xTicks("time", at("2026-01-15"), at("2026-12-20"), 400);
  expect(timeLabels(year)).toEqual(["Apr 2026", "Jul 2026", "Oct 2026"]);
  const decades = xTicks("time", at("1990-06-01"), at("2026-12-20"), 400);
  expect(timeLabels(decades)).toEqual(["2000", "2010", "2020"]);
  const night = xTicks("time", at("2026-03-04") - 7200, at("2026-03-04") + 7200, 400);
  expect(timeLabels(night)).toContain("Mar 4");
});
