import { expect, test } from "vitest";
import {
  conditionText,
  fromTree,
  parseCondition,
  parseConditions,
  toMongo,
  toTree,
  treeToMongo,
} from "./conditions";

test("what a person types becomes the server's language, with typed values", () => {
  const typed =
    'config.lr <= 0.1, summary.val/loss<2, tag = "1", config.net.deep = true, state != failed';
  expect(toMongo(parseConditions(typed))).toEqual({
    $and: [
      { "config.lr": { $lte: 0.1 } },
      { "summary_metrics.val/loss": { $lt: 2 } },
      { tags: "1" },
      { "config.net.deep": true },
      { state: { $ne: "failed" } },
    ],
  });
  expect(toMongo([])).toEqual({});
});

test("a condition reads back as it was written, and a report keeps it", () => {
  for (const text of [
    "config.lr < 0.1",
    'config.name = "12"',
    'tag = "a, b"',
    "summary.a.b != x y",
  ]) {
    const condition = parseCondition(text);
    expect(conditionText(condition)).toBe(text);
    const kept = fromTree(toTree([condition]));
    expect(kept).toEqual([condition]);
  }
});

test("a field or a shape that there is not is said in words", () => {
  expect(() => parseCondition("lr")).toThrow("not a condition");
  expect(() => parseCondition("colour = red")).toThrow("no field “colour”");
  expect(() => parseCondition("config.lr <")).toThrow("not a condition");
});

test("a filter with alternatives is kept but is no list of conditions", () => {
  const leaf = (value: number) => ({ op: "=", key: { section: "config", name: "a" }, value });
  const either = { op: "OR", filters: [leaf(1), leaf(2)] };
  expect(fromTree(either)).toBeNull();
  expect(treeToMongo(either)).toEqual({
    $or: [{ "config.a": { $eq: 1 } }, { "config.a": { $eq: 2 } }],
  });
  expect(treeToMongo({ op: "=", key: { section: "summary", name: "x" }, value: "*" })).toEqual({
    "summary_metrics.x": { $exists: true },
  });
});
