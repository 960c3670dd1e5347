import { expect, test } from "vitest";
import { lone, nearest, type Line } from "./lines";

test("a dot is for a point between gaps, and points of other lines are none", () => {
  expect(lone([1, undefined, 2, undefined, 3])).toEqual([]);
  expect(lone([undefined, 1, undefined])).toEqual([1]);
  expect(lone([1, null, undefined, 2, undefined, null, 3, 4])).toEqual([0, 3]);
  expect(lone([])).toEqual([]);
});

test("the crosshair reads a line at its own nearest point", () => {
  const line: Line = {
    id: "a",
    label: "a",
    color: "",
    dashed: false,
    x: [0, 10, 20],
    y: [1, 2, null],
  };
  expect([-5, 4, 6, 14, 99].map((x) => nearest(line, x))).toEqual([1, 1, 2, 2, null]);
  expect(nearest({ ...line, x: [], y: [] }, 1)).toBeNull();
});
