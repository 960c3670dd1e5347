// The metrics of a run that charts can draw. A run may have a hundred thousand: what is needed to
// order, group and find them is worked out once, and again only when there are others.

import { display, groupOf, UNGROUPED, type Group } from "./keys";

/** What the server says of a run's metrics, one entry each; `kind` has a letter each. */
export interface WireMetrics {
  key: string[];
  kind: string;
  count: number[];
  /** Places of those that are not to be shown. */
  hidden: number[];
}

export interface Metric {
  key: string;
  /** The key as people read it. */
  name: string;
  /** Rows that have it, when it was asked last. */
  count: number;
}

const NUMERIC = new Set(["f", "i", "b"]);

/** What can be drawn, in order; `before` itself, with new counts, where that is the same keys. */
export function drawable(wire: WireMetrics, before: Metric[]): Metric[] {
  const hidden = new Set(wire.hidden);
  const counts = new Map<string, number>();
  wire.key.forEach((key, i) => {
    const shown = NUMERIC.has(wire.kind[i] ?? "") && !hidden.has(i) && !key.startsWith("_");
    if (shown) counts.set(key, wire.count[i] ?? 0);
  });
  if (before.length === counts.size && before.every(({ key }) => counts.has(key))) {
    for (const metric of before) metric.count = counts.get(metric.key) ?? 0;
    return before;
  }
  return [...counts]
    .map(([key, count]) => ({ key, count, name: display(key) }))
    .map((metric) => ({ metric, place: placeOf(metric.name) }))
    .sort((a, b) => (a.place < b.place ? -1 : a.place > b.place ? 1 : 0))
    .map(({ metric }) => metric);
}

/**
 * A text whose plain order is the natural order of names: without a section first and "system"
 * last, section by section, layer2 before layer10. A collator takes ten times as long.
 */
export function placeOf(name: string): string {
  return `${placeOfGroup(groupOf(name))}\0${foldedOf(name)}\0${name}`;
}

let last = { group: "", place: "" }; // neighbours are of one section, mostly
function placeOfGroup(group: string): string {
  if (last.group !== group || last.place === "") {
    const system = group === "system" || group.startsWith("system/");
    const rank = group === UNGROUPED ? 0 : system ? 2 : 1;
    last = { group, place: `${rank}${foldedOf(group)}\0${group}` };
  }
  return last.place;
}

function foldedOf(text: string): string {
  const plain = /^[\0-\x7f]*$/.test(text) ? text : text.normalize("NFKD").replace(/\p{M}/gu, "");
  // A number is led by how long it is.
  return plain.toLowerCase().replace(/\d+/g, (digits) => {
    const number = digits.replace(/^0+(?=\d)/, "");
    return `0${String.fromCharCode(32 + Math.min(90, number.length))}${number}`;
  });
}

/** Ordered metrics by section; the order stays. */
export function sectionsOf(metrics: readonly Metric[]): Group<Metric>[] {
  const groups = new Map<string, Metric[]>();
  for (const metric of metrics) {
    const name = groupOf(metric.name);
    const members = groups.get(name);
    if (members) members.push(metric);
    else groups.set(name, [metric]);
  }
  return [...groups].map(([name, items]) => ({ name, items }));
}
