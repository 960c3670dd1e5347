// The metrics of a run that charts can draw, in the order in which the server says them: a run may
// have a hundred thousand, and the first few come before the rest.

import { display, groupOf, type Group } from "./keys";
import type { WireMetrics } from "./wire";

export interface Metric {
  key: string;
  /** The key as people read it. */
  name: string;
  /** Rows that have it, when it was asked last. */
  count: number;
}

/** The metrics, in order; `before` itself, with new counts, where that is the same keys. */
export function metricsOf({ key: keys, count }: WireMetrics, before: Metric[]): Metric[] {
  if (before.length === keys.length && before.every(({ key }, i) => key === keys[i])) {
    before.forEach((metric, i) => (metric.count = count[i] ?? 0));
    return before;
  }
  return keys.map((key, i) => ({ key, count: count[i] ?? 0, name: display(key) }));
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
