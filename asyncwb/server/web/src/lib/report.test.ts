import { expect, test } from "vitest";
import { partsOf, specOf, textOf } from "./report";

const TEXT = `# What we saw

Some *words*.

\`\`\`python
# \`\`\`panel is not ours in here
print(1)
\`\`\`

\`\`\`panel
metrics: loss, val/loss
title: Loss, both
x: relative
log: yes
smoothing: 0.6
runs: a1, b2
filter: config.lr < 0.1, tag = "a, b"
sort: +summary.loss
limit: 3
---
metrics: accuracy
\`\`\`

The end.`;

test("a report reads back as the text that was written", () => {
  const spec = specOf(TEXT, { width: "fixed", ref: { x: 1 } });
  expect(textOf(spec)).toBe(TEXT);
  expect(spec).toMatchObject({ version: 5, width: "fixed", ref: { x: 1 } });
  expect(spec.blocks?.map((block) => block["type"])).toEqual([
    "markdown-block",
    "panel-grid",
    "markdown-block",
  ]);
});

test("a panel says which metrics of which runs are drawn", () => {
  const grid = partsOf(specOf(TEXT))[1];
  expect(grid).toMatchObject({
    kind: "grid",
    undrawn: [],
    panels: [
      {
        metrics: ["loss", "val/loss"],
        title: "Loss, both",
        x: "relative",
        log: true,
        smoothing: 0.6,
      },
      { metrics: ["accuracy"], title: null, x: "step", log: false, smoothing: 0 },
    ],
    runs: { order: "+summary_metrics.loss", limit: 3, project: null },
  });
  expect(grid?.kind === "grid" && grid.runs.filter).toEqual({
    $and: [
      { $or: [{ $and: [{ "config.lr": { $lt: 0.1 } }, { tags: { $eq: "a, b" } }] }] },
      { name: { $in: ["a1", "b2"] } },
    ],
  });
});

test("what is wrong with a panel is said in words", () => {
  expect(() => specOf("```panel\ntitle: x\n```")).toThrow("needs metrics");
  expect(() => specOf("```panel\nmetrics: a\ncolour: red\n```")).toThrow("no setting of a panel");
  expect(() => specOf("```panel\nmetrics: a\nx: lunar\n```")).toThrow("step, time or relative");
  expect(() => specOf("```panel\nmetrics: a\nlimit: 1000\n```")).toThrow("from 1 to 20");
  expect(() => specOf("```block\nnope\n```")).toThrow("JSON");
});

test("blocks of W&B are shown as Markdown, and editing loses none of those that cannot be", () => {
  const bars = {
    type: "panel-grid",
    metadata: {
      panelBankSectionConfig: { panels: [{ viewType: "Bar Chart", config: {} }] },
      runSets: [{}, {}],
    },
  };
  const video = { type: "video", url: "https://example.org/v.mp4" };
  const blocks = [
    { type: "heading", level: 2, children: [{ text: "Title" }] },
    {
      type: "paragraph",
      children: [
        { text: "2 * 3 " },
        { text: "bold", bold: true },
        { type: "link", url: "https://example.org", children: [{ text: "there" }] },
      ],
    },
    {
      type: "list",
      ordered: true,
      children: [
        { type: "list-item", children: [{ type: "paragraph", children: [{ text: "one" }] }] },
      ],
    },
    {
      type: "code-block",
      language: "sh",
      children: [{ type: "code-line", children: [{ text: "ls" }] }],
    },
    bars,
    video,
  ];
  const parts = partsOf({ blocks });
  expect(parts.slice(0, 4).map((part) => part.kind === "markdown" && part.text)).toEqual([
    "## Title",
    "2 \\* 3 **bold**[there](https://example.org)",
    "1. one",
    "```sh\nls\n```",
  ]);
  expect(parts[4]).toMatchObject({ kind: "grid", panels: [], undrawn: ["Bar Chart"] });
  expect(parts[5]).toMatchObject({ kind: "problem" });
  const kept = specOf(textOf({ blocks })).blocks ?? [];
  expect(kept.slice(-2)).toEqual([bars, video]);
});

test("a spec that is no report is an empty one", () => {
  for (const spec of [{}, { blocks: null }, { blocks: [null, 3] }]) {
    expect(partsOf(spec as never)).toEqual([]);
    expect(textOf(spec as never)).toBe("");
  }
});

test("code that holds a fence stays one block of code", () => {
  const code = { type: "code-block", children: [{ text: "```panel" }, { text: "```" }] };
  const text = textOf({ blocks: [code] });
  expect(text).toBe("````\n```panel\n```\n````");
  expect(textOf(specOf(text))).toBe(text);
});
