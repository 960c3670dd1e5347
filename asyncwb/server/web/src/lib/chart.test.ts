import { expect, test } from "vitest";
import { xRange, yRange } from "./chart";

test("a flat line has an axis around it, and zero one that says so", () => {
  expect(yRange(0, 0)).toEqual([0, 1]);
  expect(yRange(null, null)).toEqual([null, null]);
  const [low = 0, high = 0] = yRange(3, 3);
  expect([Number(low) < 3, Number(high) > 3]).toEqual([true, true]);
  expect(xRange(null, 7, 7)).toEqual([6, 8]);
});
