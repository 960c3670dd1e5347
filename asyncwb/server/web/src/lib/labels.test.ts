import { expect, test } from "vitest";
import { elapsedLabels, logLabel, ticks, timeLabels } from "./labels";

test("neighbouring ticks have different, true labels", () => {
  expect(ticks([0, 2.5, 5, 7.5])).toEqual(["0", "2.5", "5.0", "7.5"]);
  expect(ticks([0, 500, 1000, 1500])).toEqual(["0", "500", "1,000", "1,500"]);
  expect(ticks([0, 50000, 100000])).toEqual(["0", "50k", "100k"]);
  expect(ticks([0, 0.00025, 0.0005])).toEqual(["0", "2.5e-4", "5e-4"]);
  expect(ticks([1000000, 1000001, 1000002])).toEqual(["1.000000M", "1.000001M", "1.000002M"]);
  expect(ticks([3])).toEqual(["3"]);
  expect(ticks([])).toEqual([]);
});

test("ticks far from zero or near it are told apart, too", () => {
  expect(ticks([1e16, 1e16 + 2, 1e16 + 4])).toEqual([
    "1e16",
    "1.0000000000000002e16",
    "1.0000000000000004e16",
  ]);
  expect(ticks([0, 5e-324])).toEqual(["0", "5e-324"]);
  expect([1e-23, 0.002, 20000, 3e5, 1e308, null].map(logLabel)).toEqual([
    "1e-23",
    "0.002",
    "20,000",
    "3e5",
    "1e308",
    null,
  ]);
});

test("seconds since the start have as many units as tell them apart", () => {
  expect(elapsedLabels([0, 0.5, 1])).toEqual(["0s", "0.5s", "1.0s"]);
  expect(elapsedLabels([60, 90, 120])).toEqual(["1m", "1m 30s", "2m"]);
  expect(elapsedLabels([90000, 90030, 90060])).toEqual(["1d 1h", "1d 1h 30s", "1d 1h 1m"]);
  expect(elapsedLabels([1e60, 2e60])).toEqual(["1e60s", "2e60s"]);
});

test("times say what differs: seconds and their parts, days, months or years", () => {
  const at = (text: string): number => Date.parse(text) / 1000;
  const noon = at("2026-03-04T12:00:00");
  expect(timeLabels([noon, noon + 0.25])).toEqual(["12:00:00.000", "12:00:00.250"]);
  expect(timeLabels([at("2026-01-01T00:00"), at("2026-04-01T00:00")])).toEqual([
    "Jan 2026",
    "Apr 2026",
  ]);
  expect(timeLabels([at("2020-01-01T00:00"), at("2030-01-01T00:00")])).toEqual(["2020", "2030"]);
  expect(timeLabels([1e200, 2e200])).toEqual(["1e200", "2e200"]);
});

test("the ends of all doubles are labelled by what they are", () => {
  expect([Number.MAX_VALUE, 1e308, 1e100, 1e5, 1e-4, 1e-300, 5e-324].map(logLabel)).toEqual([
    "1.8e308", "1e308", "1e100", "1e5", "0.0001", "1e-300", "5e-324",
  ]);
});
