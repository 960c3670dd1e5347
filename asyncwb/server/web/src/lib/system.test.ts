import { expect, test } from "vitest";
import { systemCharts } from "./system";

test("devices of one kind share a chart, and what is no number is no point", () => {
  const rows = [
    {
      _runtime: 1,
      _timestamp: 100,
      "system.cpu": 5,
      "system.gpu.0.temp": 40,
      "system.gpu.1.temp": 41,
    },
    { _runtime: 2, _timestamp: 101, "system.cpu": null, "system.gpu.0.temp": 42 },
    { "system.cpu": 7 },
  ];
  const charts = systemCharts(rows).map(({ title, lines }) => [
    title,
    ...lines.map(({ label, x, y }) => [label, x, y]),
  ]);
  expect(charts).toEqual([
    ["cpu", ["cpu", [1], [5]]],
    ["gpu.*.temp", ["gpu.0.temp", [1, 2], [40, 42]], ["gpu.1.temp", [1], [41]]],
  ]);
});
