import { expect, test } from "vitest";
import { display, grouped, matcher, shortName } from "./keys";

test("an escaped dot is shown as a dot", () => {
  expect(display("a.b\\.c")).toBe("a.b.c");
  expect(display("back\\\\slash")).toBe("back\\slash");
});

test("sections come from the text before the last slash, in natural order", () => {
  const names = ["loss", "train/a/loss10", "train/a/loss2", "system/cpu", "acc", "/lead"];
  const sections = grouped(names, (name) => name).map(({ name, items }) => [name, items]);
  expect(sections).toEqual([
    ["charts", ["/lead", "acc", "loss"]],
    ["train/a", ["train/a/loss2", "train/a/loss10"]],
    ["system", ["system/cpu"]],
  ]);
  expect(shortName("train/a/loss")).toBe("loss");
  expect(shortName("trailing/")).toBe("trailing/");
});

test("a filter is words that all occur, or a regular expression", () => {
  expect(matcher("val LOSS")("val/loss")).toBe(true);
  expect(matcher("val acc")("val/loss")).toBe(false);
  expect(matcher("/^val/")("train/val")).toBe(false);
  expect(matcher("/(/")("(")).toBe(false);
  expect(matcher(" ")("anything")).toBe(true);
});
