import { expect, test } from "vitest";
import { naturalOrder } from "./keys";
import { drawable, placeOf, sectionsOf, type Metric, type WireMetrics } from "./metrics";

function wire(keys: string[], kind = "f".repeat(keys.length), hidden: number[] = []): WireMetrics {
  return { key: keys, kind, count: keys.map((_, i) => i + 1), hidden };
}

test("sections come from the text before the last slash, in natural order", () => {
  const names = ["loss", "train/a/loss10", "train/a/loss2", "system/cpu", "acc", "/lead", "val/x"];
  const sections = sectionsOf(drawable(wire(names), []));
  expect(sections.map(({ name, items }) => [name, items.map((item) => item.name)])).toEqual([
    ["charts", ["/lead", "acc", "loss"]],
    ["train/a", ["train/a/loss2", "train/a/loss10"]],
    ["val", ["val/x"]],
    ["system", ["system/cpu"]],
  ]);
});

test("numbers that are not hidden are drawn, under the names that people read", () => {
  const keys = ["a\\.b", "text", "_own", "hidden", "flag", ""];
  const found = drawable(wire(keys, "ijffbf", [3]), []);
  expect(found).toEqual([
    { key: "", name: "", count: 6 },
    { key: "a\\.b", name: "a.b", count: 1 },
    { key: "flag", name: "flag", count: 5 },
  ]);
});

test("the same keys stay the same list, with new counts", () => {
  const before = drawable(wire(["a", "b"]), []);
  const same = drawable({ ...wire(["b", "a"]), count: [7, 8] }, before);
  expect(same).toBe(before);
  expect(same.map(({ count }) => count)).toEqual([8, 7]);
  expect(drawable(wire(["a", "c"]), before)).not.toBe(before);
  expect(drawable(wire(["a"]), before)).not.toBe(before);
});

test("names are in the order that a collator has", () => {
  const names = ["layer10", "layer2", "Layer1", "layer007", "été", "eta", "zeta", "x1y10", "x1y9"];
  const placed = names.toSorted((a, b) => (placeOf(a) < placeOf(b) ? -1 : 1));
  expect(placed).toEqual(names.toSorted(naturalOrder));
});

test("a hundred thousand metrics are ordered, grouped and found in a moment", () => {
  const keys = Array.from({ length: 100_000 }, (_, i) => `group${i % 300}/metric${i}`);
  const began = performance.now();
  const found: Metric[] = drawable(wire(keys), []);
  expect(sectionsOf(found)).toHaveLength(300);
  expect(performance.now() - began).toBeLessThan(5000); // a few tenths, on a machine at rest
});
