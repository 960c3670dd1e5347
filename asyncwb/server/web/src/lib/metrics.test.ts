import { expect, test } from "vitest";
import { metricsOf, sectionsOf } from "./metrics";
import type { WireMetrics } from "./wire";

function wire(keys: string[]): WireMetrics {
  return { key: keys, count: keys.map((_, i) => i + 1), total: keys.length };
}

test("sections come from the text before the last slash, in the order of the metrics", () => {
  const names = ["/lead", "acc", "train/a/loss2", "train/a/loss10", "val/x", "system/cpu"];
  const sections = sectionsOf(metricsOf(wire(names), []));
  expect(sections.map(({ name, items }) => [name, items.map((item) => item.name)])).toEqual([
    ["charts", ["/lead", "acc"]],
    ["train/a", ["train/a/loss2", "train/a/loss10"]],
    ["val", ["val/x"]],
    ["system", ["system/cpu"]],
  ]);
});

test("metrics have the names that people read", () => {
  expect(metricsOf(wire(["", "a\\.b"]), [])).toEqual([
    { key: "", name: "", count: 1 },
    { key: "a\\.b", name: "a.b", count: 2 },
  ]);
});

test("the same keys stay the same list, with new counts", () => {
  const before = metricsOf(wire(["a", "b"]), []);
  const same = metricsOf({ ...wire(["a", "b"]), count: [7, 8] }, before);
  expect(same).toBe(before);
  expect(same.map(({ count }) => count)).toEqual([7, 8]);
  expect(metricsOf(wire(["a", "c"]), before)).not.toBe(before);
  expect(metricsOf(wire(["a"]), before)).not.toBe(before);
});
