// System metrics: rows of numbers by name become lines over the time since the run began.

import type { Line } from "./lines";

export interface SystemChart {
  title: string;
  lines: Line[];
}

const OWN = new Set(["_timestamp", "_runtime", "_wandb"]);

/** A chart for each name; those of one kind on several devices (`gpu.0.temp`, `gpu.1.temp`) share one. */
export function systemCharts(rows: readonly Record<string, unknown>[]): SystemChart[] {
  const points = new Map<string, { x: number[]; y: number[] }>();
  for (const row of rows) {
    const at = row["_runtime"] ?? row["_timestamp"];
    if (typeof at !== "number") continue;
    for (const [name, value] of Object.entries(row)) {
      if (OWN.has(name) || typeof value !== "number") continue;
      const held = points.get(name) ?? { x: [], y: [] };
      points.set(name, held);
      if (at < (held.x.at(-1) ?? -Infinity)) continue; // a writer with another clock
      held.x.push(at);
      held.y.push(value);
    }
  }
  const byTitle = new Map<string, string[]>();
  for (const name of [...points.keys()].sort(byName))
    byTitle.set(titleOf(name), [...(byTitle.get(titleOf(name)) ?? []), name]);
  return [...byTitle]
    .sort(([a], [b]) => byName(a, b))
    .map(([title, names]) => ({
      title,
      lines: names.map((name, i) => ({
        id: name,
        label: name.replace(/^system\./, ""),
        color: `--run-${i % 8}`,
        dashed: i >= 8,
        ...(points.get(name) ?? { x: [], y: [] }),
      })),
    }));
}

/** `system.gpu.0.temp` and `system.gpu.1.temp` are one chart, "gpu.*.temp". */
function titleOf(name: string): string {
  return name.replace(/^system\./, "").replace(/\.\d+(?=\.|$)/g, ".*");
}

const order = new Intl.Collator(undefined, { numeric: true });
function byName(a: string, b: string): number {
  return order.compare(a, b);
}
