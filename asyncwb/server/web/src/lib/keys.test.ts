import { expect, test } from "vitest";
import { display, matcher, shortName, titled } from "./keys";

test("an escaped dot is shown as a dot", () => {
  expect(display("a.b\\.c")).toBe("a.b.c");
  expect(display("back\\\\slash")).toBe("back\\slash");
});

test("inside its section a metric has what is behind the last slash", () => {
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

test("a name without a visible character is quoted where it stands alone", () => {
  const names = ["", " ", "\n", "\ufeff", "a b", '"'];
  expect(names.map(titled)).toEqual(['""', '" "', '"\\n"', '"\ufeff"', "a b", '"']);
});
