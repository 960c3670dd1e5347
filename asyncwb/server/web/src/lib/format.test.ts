import { expect, test } from "vitest";
import { ago, bytes, date, duration, number } from "./format";

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

test("thousands are grouped, whether whole or not", () => {
  expect([22824, 22824.31, 2282.4, -1234.56].map(number)).toEqual([
    "22,824",
    "22,824",
    "2,282.4",
    "-1,234.6",
  ]);
});

test("an age has one unit", () => {
  expect([0.5, 59, 75, 3599.9, 90061].map((age) => ago(100_000 - age, 100_000))).toEqual([
    "just now",
    "59s ago",
    "1m ago",
    "1h ago",
    "1d ago",
  ]);
  expect(ago(null, 0)).toBe("–");
});

test("a duration has at most two units", () => {
  expect([0, 59.4, 75, 3600, 90061].map((seconds) => duration(seconds))).toEqual(["0s", "59s", "1m 15s", "1h", "1d 1h"]);
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

test("a time that no calendar has is shown as a number", () => {
  expect([date(null), date(1e300)]).toEqual(["", "1e300"]);
});
