import { expect, test } from "vitest";
import { bytes, duration, number, ticks } from "./format";

test("a number never loses its sign, its exponent or its being a number", () => {
  expect([0, 1e-9, -2.5e-7, 1234567, 0.1 + 0.2, 12345678.9].map(number)).toEqual([
    "0",
    "1e-9",
    "-2.5e-7",
    "1,234,567",
    "0.3",
    "1.2346e7",
  ]);
  expect([NaN, Infinity, -Infinity].map(number)).toEqual(["NaN", "∞", "−∞"]);
});

test("neighbouring ticks have different, true labels", () => {
  expect(ticks([0, 2.5, 5, 7.5])).toEqual(["0", "2.5", "5.0", "7.5"]);
  expect(ticks([0, 50000, 100000])).toEqual(["0", "50k", "100k"]);
  expect(ticks([0, 0.00025, 0.0005])).toEqual(["0", "2.5e-4", "5e-4"]);
  expect(ticks([1000000, 1000001, 1000002])).toEqual(["1.000000M", "1.000001M", "1.000002M"]);
  expect(ticks([3])).toEqual(["3"]);
  expect(ticks([])).toEqual([]);
});

test("a duration has at most two units", () => {
  expect([0, 59.4, 75, 3600, 90061].map(duration)).toEqual(["0s", "59s", "1m 15s", "1h", "1d 1h"]);
});

test("sizes have three digits and the unit that keeps them short", () => {
  expect([0, 1023, 1536, 5 * 2 ** 20, 2 ** 40 * 3].map(bytes)).toEqual([
    "0 B",
    "1023 B",
    "1.50 KiB",
    "5.00 MiB",
    "3.00 TiB",
  ]);
});
