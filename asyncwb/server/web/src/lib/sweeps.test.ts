import { expect, test } from "vitest";
import { subjectOf } from "./sweeps";

test("the subject of a sweep is its metric and what it varies", () => {
  const config = `method: grid
metric:
  goal: minimize
  name: "val/loss"
parameters:
  # how fast
  lr:
    values: [0.1, 0.01]
  model.depth:
    distribution: q_uniform
    min: 18
  seed:
    value: 3
  'odd: key': {values: [1, 2]}
run_cap: 3
`;
  expect(subjectOf(config)).toEqual({
    metric: "val/loss",
    parameters: ["lr", "model.depth", "odd: key"],
  });
});

test("what is written otherwise is left out, and nothing is made up", () => {
  const flow = "{method: random, metric: {name: loss}, parameters: {lr: {min: 0, max: 1}}}";
  expect(subjectOf(flow)).toEqual({ metric: null, parameters: [] });
  expect(subjectOf("method: random\nparameters: {lr: {min: 0}}\n")).toEqual({
    metric: null,
    parameters: [],
  });
  expect(subjectOf("metric: {goal: minimize, name: val/loss}\n").metric).toBe("val/loss");
  expect(subjectOf("")).toEqual({ metric: null, parameters: [] });
});
