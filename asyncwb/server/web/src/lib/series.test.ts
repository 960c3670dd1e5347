import { expect, test } from "vitest";
import { decode, lastIndex, positive, smoothed, valueAt } from "./series";

const wire = {
  key: "loss",
  exact: false,
  rows: 40,
  x: [0, 10, 20, 30],
  min: [1, "NaN", 2, -1],
  max: [3, "NaN", "Infinity", 4],
  mean: [2, "NaN", "Infinity", 3],
  last: [3, "NaN", 2, 4],
  count: [10, 10, 10, 10],
  valid: [10, 0, 10, 10],
};

test("what is not a finite number becomes a gap with a name, never a value", () => {
  const series = decode(wire, "_step");
  expect(series.mean).toEqual([2, null, null, 3]);
  expect(series.min).toEqual([1, null, 2, -1]);
  expect(series.odd).toEqual([
    { x: 10, what: "NaN" },
    { x: 20, what: "Infinity" },
  ]);
  expect([0, 1, 2].map((i) => valueAt(series, i))).toEqual([2, "NaN", "Infinity"]);
});

test("what the store has lost is named", () => {
  const lost = { place: "segments/1/a", first_step: 5, last_step: 9, rows: 5, keys: null, why: "a checksum" };
  expect(decode(wire, "_step").missing).toBe("");
  expect(decode({ ...wire, missing: [lost] }, "_step").missing).toBe(
    "5 rows in steps 5 to 9 (segments/1/a: a checksum)",
  );
});

test("NaN among numbers in one bucket is still marked", () => {
  const series = decode({ ...wire, valid: [9, 0, 10, 10] }, "_step");
  expect(series.odd[0]).toEqual({ x: 0, what: "NaN" });
  expect(series.mean[0]).toBe(2);
});

test("smoothing starts without bias, keeps gaps and stays inside the values", () => {
  expect(smoothed([5, 5, null, 5], 0.9).map((v) => v && Number(v.toFixed(9)))).toEqual([
    5,
    5,
    null,
    5,
  ]);
  const [first, second] = smoothed([0, 10], 0.5);
  expect(first).toBe(0);
  expect(second).toBeCloseTo(20 / 3);
  expect(smoothed([1, 2, 3], 0)).toEqual([1, 2, 3]);
});

test("a log axis has no place for zero and below", () => {
  expect(positive([1, 0, -1, null, 2])).toEqual([1, null, null, null, 2]);
});

test("the last point at or before x", () => {
  const series = decode(wire, "_step");
  expect([-1, 0, 15, 99].map((x) => lastIndex(series, x))).toEqual([-1, 0, 1, 3]);
});
