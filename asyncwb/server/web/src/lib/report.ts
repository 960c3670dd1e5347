// Reports: between the text that a person edits and the blocks that are kept.
//
// The text is Markdown with two fences of ours. ```panel says which metrics of which runs to draw,
// a line a setting, further panels over the same runs after a line of "---". ```block holds any
// other block of W&B's as JSON, so that editing a report loses nothing of it. The kept form is
// W&B's: {"version", "blocks": [{"type": "markdown-block" | "panel-grid" | ...}]}.

import { asList, asObject, fenced, isObject, markdownOf, type Json } from "./blocks";
import {
  conditionText,
  fromTree,
  mongoField,
  parseConditions,
  toTree,
  treeToMongo,
  type Condition,
  type FilterTree,
  type Mongo,
} from "./conditions";
import type { XAxis } from "./view.svelte";

export interface Panel {
  metrics: string[];
  title: string | null;
  x: XAxis;
  log: boolean;
  /** 0 is none, below 1. */
  smoothing: number;
}

/** Which runs a grid of panels draws: the first `limit` in `order` that the filter lets pass. */
export interface RunChoice {
  filter: Mongo;
  order: string;
  limit: number;
  /** Another project than the report's own. */
  project: { entity: string; project: string } | null;
}

export type Part =
  | { kind: "markdown"; text: string }
  | { kind: "grid"; panels: Panel[]; runs: RunChoice; undrawn: string[] }
  | { kind: "problem"; text: string };

export interface Spec extends Json {
  blocks?: Json[];
}

export const DEFAULT_LIMIT = 10;
export const MOST_RUNS = 20;
const LINE_PLOT = "Run History Line Plot";
const NEWEST = "-createdAt";
const X_NAMES: Record<XAxis, string> = {
  step: "_step",
  time: "_timestamp",
  relative: "_absolute_runtime",
};

// From text to what is kept.

/** Makes the spec of a text; what `old` says beside its blocks stays. Throws an Error in words. */
export function specOf(text: string, old: Spec = {}): Spec {
  const blocks = pieces(text).map(({ fence, body }, index): Json => {
    if (fence === "panel") return gridBlock(body, index);
    if (fence === "block") return rawBlock(body);
    return { type: "markdown-block", content: body, children: [{ text: "" }] };
  });
  const fresh = { version: 5, panelSettings: {}, width: "readable", authors: [], ...old };
  return { ...fresh, blocks };
}

interface Piece {
  fence: "panel" | "block" | null;
  body: string;
}

/** Cuts a text at our fences; other fences are Markdown and may hold anything. */
function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let held: string[] = [];
  let [open, ours]: [string, Piece["fence"]] = ["", null];
  const cut = (fence: Piece["fence"]): void => {
    const body = held.join("\n");
    if (fence !== null || body.trim() !== "")
      found.push({ fence, body: fence ? body : body.trim() });
    held = [];
  };
  for (const line of text.replace(/\r\n?/g, "\n").split("\n")) {
    const [, mark = "", info = ""] = /^ {0,3}(`{3,}|~{3,})\s*([^`]*?)\s*$/.exec(line) ?? [];
    if (open !== "") {
      const closes = info === "" && mark.startsWith(open);
      if (!closes || ours === null) held.push(line);
      if (closes && ours !== null) cut(ours);
      if (closes) [open, ours] = ["", null];
    } else {
      open = mark;
      ours = mark !== "" && (info === "panel" || info === "block") ? info : null;
      if (ours === null) held.push(line);
      else cut(null);
    }
  }
  cut(ours);
  return found;
}

function rawBlock(body: string): Json {
  try {
    const block: unknown = JSON.parse(body);
    if (isObject(block) && typeof block["type"] === "string") return block;
  } catch {
    // said below
  }
  throw new Error("A ```block holds one block as JSON, with its “type”.");
}

const SETTINGS = "metrics, title, x, log, smoothing, runs, filter, sort, limit";

function gridBlock(body: string, index: number): Json {
  const [first = {}, ...more] = body.split(/^\s*---+\s*$/m).map(settings);
  const panels = [first, ...more].map(panelOf);
  const limit = number(first["limit"], DEFAULT_LIMIT, 1, MOST_RUNS, "limit");
  const metadata = {
    openViz: true,
    panelBankSectionConfig: {
      name: "Report Panels",
      isOpen: true,
      type: "grid",
      panels: panels.map((panel, i) => keptPanel(panel, limit, `grid${index}-panel${i}`, i)),
    },
    runSets: [runSet(first, `grid${index}-runs`)],
    openRunSet: 0,
    name: "unused-name",
  };
  return { type: "panel-grid", children: [{ text: "" }], metadata };
}

type Settings = Record<string, string>;

function settings(text: string): Settings {
  const found: Settings = {};
  for (const line of text.split("\n").filter((line) => line.trim() !== "")) {
    const [, name = "", value = ""] = /^\s*(\w+)\s*:\s*(.*?)\s*$/.exec(line) ?? [];
    if (!SETTINGS.split(", ").includes(name))
      throw new Error(`“${line.trim()}” is no setting of a panel. There are: ${SETTINGS}.`);
    found[name] = value;
  }
  return found;
}

function panelOf(said: Settings): Panel {
  const metrics = list(said["metrics"]);
  if (metrics.length === 0)
    throw new Error("A panel needs metrics, e.g. “metrics: loss, val/loss”.");
  const x = said["x"] ?? "step";
  if (!(x in X_NAMES)) throw new Error(`x of a panel is step, time or relative, not “${x}”.`);
  return {
    metrics,
    title: said["title"] || null,
    x: x as XAxis,
    log: /^(yes|true|on|1)$/i.test(said["log"] ?? ""),
    smoothing: number(said["smoothing"], 0, 0, 0.99, "smoothing"),
  };
}

function number(
  text: string | undefined,
  none: number,
  low: number,
  high: number,
  name: string,
): number {
  if (text === undefined || text === "") return none;
  const value = Number(text);
  if (!(value >= low && value <= high))
    throw new Error(`${name} of a panel is a number from ${low} to ${high}, not “${text}”.`);
  return value;
}

function list(text: string | undefined): string[] {
  return (text ?? "")
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);
}

function keptPanel(panel: Panel, limit: number, id: string, at: number): Json {
  const config = {
    metrics: panel.metrics,
    xAxis: X_NAMES[panel.x],
    limit,
    ...(panel.title === null ? {} : { chartTitle: panel.title }),
    ...(panel.log ? { yLogScale: true } : {}),
    ...(panel.smoothing > 0 ? { smoothingWeight: panel.smoothing } : {}),
  };
  const layout = { x: (at % 2) * 12, y: Math.floor(at / 2) * 8, w: 12, h: 8 };
  return { __id__: id, viewType: LINE_PLOT, config, layout };
}

function runSet(said: Settings, id: string): Json {
  const runs = list(said["runs"]);
  return {
    id,
    name: "Run set",
    enabled: true,
    search: { query: "" },
    filters: toTree(parseConditions(said["filter"] ?? "")),
    grouping: [],
    sort: { keys: [sortKey(said["sort"] || NEWEST)] },
    selections: { root: runs.length > 0 ? 0 : 1, bounds: [], tree: runs },
    expandedRowAddresses: [],
  };
}

function sortKey(text: string): Json {
  const [sign, field] = /^[+-]/.test(text) ? [text[0], text.slice(1)] : ["+", text];
  const name = mongoField(field);
  const [, space, rest] = /^(config|summary_metrics)\.(.+)$/s.exec(name) ?? [];
  const section = space === "config" ? "config" : space ? "summary" : "run";
  return { key: { section, name: rest ?? name }, ascending: sign === "+" };
}

// From what is kept to what is shown.

/** The parts of a report in order; a block that cannot be shown says so in its place. */
export function partsOf(spec: Spec): Part[] {
  return blocksOf(spec).map((block): Part => {
    if (block["type"] === "panel-grid") return gridPart(asObject(block["metadata"]));
    const text = markdownOf(block);
    if (text !== null) return { kind: "markdown", text };
    return {
      kind: "problem",
      text: `A block of the kind “${String(block["type"])}” is not shown here.`,
    };
  });
}

function blocksOf(spec: Spec): Json[] {
  return asList(spec.blocks).filter(isObject);
}

function gridPart(metadata: Json): Part {
  try {
    const all = panelsOf(metadata);
    const drawn = all.filter(isLinePlot).map(shownPanel);
    const undrawn = all
      .filter((panel) => !isLinePlot(panel))
      .map((panel) => String(panel["viewType"]));
    return { kind: "grid", panels: drawn, runs: choiceOf(metadata), undrawn };
  } catch (error) {
    return { kind: "problem", text: (error as Error).message };
  }
}

function panelsOf(metadata: Json): Json[] {
  const bank = asObject(metadata["panelBankSectionConfig"]);
  return asList(bank["panels"]).filter(isObject);
}

function isLinePlot(panel: Json): boolean {
  return panel["viewType"] === LINE_PLOT && metricsOf(panel).length > 0;
}

function metricsOf(panel: Json): string[] {
  return asList(asObject(panel["config"])["metrics"]).filter((name) => typeof name === "string");
}

function shownPanel(panel: Json): Panel {
  const config = asObject(panel["config"]);
  const smoothing = Number(config["smoothingWeight"] ?? 0);
  return {
    metrics: metricsOf(panel),
    title: typeof config["chartTitle"] === "string" ? config["chartTitle"] : null,
    x: axisOf(config["xAxis"]),
    log: config["yLogScale"] === true,
    smoothing: smoothing > 0 && smoothing < 1 ? smoothing : 0,
  };
}

function axisOf(name: unknown): XAxis {
  if (name === "_timestamp") return "time";
  return name === "_runtime" || name === "_absolute_runtime" ? "relative" : "step";
}

function openRunSet(metadata: Json): Json {
  const sets = asList(metadata["runSets"]).filter(isObject);
  return sets[Number(metadata["openRunSet"] ?? 0)] ?? sets[0] ?? {};
}

function choiceOf(metadata: Json): RunChoice {
  const set = openRunSet(metadata);
  const chosen = asList(asObject(set["selections"])["tree"]).filter((id) => typeof id === "string");
  const filter = treeToMongo(set["filters"] as FilterTree | undefined);
  const of = asObject(set["project"]);
  const named = typeof of["entityName"] === "string" && typeof of["name"] === "string";
  return {
    filter: chosen.length === 0 ? filter : { $and: [filter, { name: { $in: chosen } }] },
    order: orderOf(asObject(set["sort"])),
    limit: limitOf(metadata),
    project: named ? { entity: String(of["entityName"]), project: String(of["name"]) } : null,
  };
}

function limitOf(metadata: Json): number {
  const limits = panelsOf(metadata).map((panel) => Number(asObject(panel["config"])["limit"]));
  const found = limits.find((limit) => limit >= 1) ?? DEFAULT_LIMIT;
  return Math.min(MOST_RUNS, Math.floor(found));
}

function orderOf(sort: Json): string {
  const first = asObject(asList(sort["keys"])[0] ?? sort);
  const key = asObject(first["key"]);
  if (typeof key["name"] !== "string") return NEWEST;
  const prefix = { config: "config.", summary: "summary_metrics." }[String(key["section"])] ?? "";
  return (first["ascending"] === true ? "+" : "-") + prefix + key["name"];
}

// From what is kept to text again.

/** The text to edit a report as. `specOf` of it keeps what the report said. */
export function textOf(spec: Spec): string {
  return blocksOf(spec)
    .map((block) => {
      const text =
        block["type"] === "panel-grid" ? panelText(asObject(block["metadata"])) : markdownOf(block);
      return text ?? fenced("block", JSON.stringify(block, null, 1));
    })
    .join("\n\n");
}

/** The fence of a grid that says no more than our fences can; null for another. */
function panelText(metadata: Json): string | null {
  const [sets, panels] = [asList(metadata["runSets"]), panelsOf(metadata)];
  const set = openRunSet(metadata);
  const conditions = fromTree(set["filters"] as FilterTree | undefined);
  const plain = sets.length === 1 && panels.length > 0 && panels.every(isLinePlot);
  if (!plain || conditions === null || set["project"] !== undefined) return null;
  if (asList(set["grouping"]).length > 0) return null;
  const [first, ...more] = panels.map((panel) => lines(shownPanel(panel)));
  return fenced(
    "panel",
    [[...(first ?? []), ...runLines(metadata, conditions)], ...more]
      .map((part) => part.join("\n"))
      .join("\n---\n"),
  );
}

function lines(panel: Panel): string[] {
  return [
    `metrics: ${panel.metrics.join(", ")}`,
    ...(panel.title === null ? [] : [`title: ${panel.title}`]),
    ...(panel.x === "step" ? [] : [`x: ${panel.x}`]),
    ...(panel.log ? ["log: yes"] : []),
    ...(panel.smoothing > 0 ? [`smoothing: ${panel.smoothing}`] : []),
  ];
}

function runLines(metadata: Json, conditions: readonly Condition[]): string[] {
  const set = openRunSet(metadata);
  const runs = asList(asObject(set["selections"])["tree"]);
  const [order, limit] = [orderOf(asObject(set["sort"])), limitOf(metadata)];
  return [
    ...(runs.length === 0 ? [] : [`runs: ${runs.join(", ")}`]),
    ...(conditions.length === 0 ? [] : [`filter: ${conditions.map(conditionText).join(", ")}`]),
    ...(order === NEWEST ? [] : [`sort: ${order.replace("summary_metrics.", "summary.")}`]),
    ...(limit === DEFAULT_LIMIT ? [] : [`limit: ${limit}`]),
  ];
}
