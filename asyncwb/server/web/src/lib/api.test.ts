import { expect, test } from "vitest";
import { mergedSummary } from "./api";
import { plain } from "./format";
import { leaves } from "./leaves";
import type { Cut, LiveState } from "./wire";

const figures = { version: 2, state: "running", rows: 1, last_step: 0, heartbeat_at: 0, lost: 0 };
const event = (more: Partial<LiveState>): LiveState => ({
  ...(figures as Omit<LiveState, "summary" | "whole" | "removed" | "more">),
  summary: {},
  whole: false,
  removed: [],
  more: false,
  ...more,
});
const cut: Cut = { _type: "cut", bytes: 2 * 1024 * 1024, crc: 1, start: "[1,2," };

test("an event changes what it names, and a whole one is all there is", () => {
  const before = { loss: 1, acc: 2, gone: 3 };
  expect(mergedSummary(before, event({ summary: { loss: 0 }, removed: ["gone"] }))).toEqual({
    loss: 0,
    acc: 2,
  });
  expect(mergedSummary(before, event({ whole: true, summary: { a: 1 } }))).toEqual({ a: 1 });
  expect(mergedSummary(before, event({ whole: true, more: true, summary: { a: 1 } }))).toEqual({
    ...before,
    a: 1,
  });
});

test("a value that is shown whole is not cut by an event", () => {
  const before = { long: [1, 2, 3] };
  expect(mergedSummary(before, event({ summary: { long: cut } }))).toEqual({ long: cut });
  expect(mergedSummary(before, event({ summary: { long: cut } }), true)).toEqual(before);
});

test("a cut value is one line that says how long it is", () => {
  expect(leaves({ a: { long: cut } })).toEqual([{ name: "a.long", value: cut }]);
  expect(plain(cut)).toBe("[1,2,… (2.00 MiB)");
});
