// The runs that a grid of a report's panels draws, and the points of their lines, kept fresh.
//
// The list of runs is asked for every few seconds while the tab is visible; a run's points are
// asked for again only when its version moved. A browser has few connections for one host, so
// many runs share this instead of a live stream each.

import { apiPath, explain, get, runPath, type ProjectPath, type XKey } from "./api";
import type { Line } from "./lines";
import { apart } from "./palette";
import { poll } from "./poll";
import type { Panel, RunChoice } from "./report";
import { decode, positive, smoothed, type Series } from "./series";
import { X_KEYS } from "./view.svelte";
import type { RunRow, WireSeries } from "./wire";

/** seconds; runs that may match one day are looked for less often than those that log now. */
const EVERY = 1.5;
const QUIET = 10;
const BUCKETS = 400;
const KEYS_A_REQUEST = 12;

/** The points of one run on one axis, by key, and of which version of the run they are. */
interface Held {
  version: number;
  series: Map<string, Series>;
}

export class PanelRuns {
  runs = $state.raw<RunRow[] | null>(null);
  trouble = $state<string | null>(null);
  #held = $state.raw(new Map<string, Held>());
  readonly colors = $derived(apart((this.runs ?? []).map((run) => run.id)));
  readonly stop: () => void;

  constructor(
    readonly home: ProjectPath,
    readonly choice: RunChoice,
    readonly panels: readonly Panel[],
  ) {
    const moving = (): boolean => this.runs?.some((run) => run.state === "running") ?? true;
    this.stop = poll(
      () => this.#refresh(),
      () => (moving() ? EVERY : QUIET),
    );
  }

  /** What a panel draws: a line for each of its metrics that a run has, first metrics solid. */
  lines(panel: Panel): Line[] {
    const axis = X_KEYS[panel.x];
    const many = panel.metrics.length > 1;
    return (this.runs ?? []).flatMap((run) =>
      panel.metrics.flatMap((metric, at): Line[] => {
        const series = found(this.#held.get(`${axis} ${run.id}`)?.series, metric);
        if (series === undefined) return [];
        const shown = panel.log ? positive(series.mean) : series.mean;
        const name = run.name ?? run.id;
        return [
          {
            id: `${run.id} ${metric}`,
            label: many ? `${name} · ${metric}` : name,
            color: this.colors.get(run.id) ?? "--run-0",
            dashed: at > 0,
            x: series.x,
            y: panel.smoothing > 0 ? smoothed(shown, panel.smoothing) : shown,
          },
        ];
      }),
    );
  }

  async #refresh(): Promise<void> {
    try {
      const { entity, project } = this.choice.project ?? this.home;
      const params: [string, string | number][] = [
        ["filters", JSON.stringify(this.choice.filter)],
        ["order", this.choice.order],
        ["limit", this.choice.limit],
      ];
      const path = apiPath("projects", entity, project, "runs");
      this.runs = (await get<{ runs: RunRow[] }>(path, params)).runs;
      for (const axis of new Set(this.panels.map((panel) => X_KEYS[panel.x])))
        for (const run of this.runs) await this.#load(run, axis);
      this.trouble = null;
    } catch (error) {
      this.trouble = explain(error);
    }
  }

  async #load(run: RunRow, axis: XKey): Promise<void> {
    const name = `${axis} ${run.id}`;
    if (this.#held.get(name)?.version === run.version) return;
    const panels = this.panels.filter((panel) => X_KEYS[panel.x] === axis);
    const keys = [...new Set(panels.flatMap((panel) => panel.metrics.flatMap(wireKeys)))];
    const series = new Map<string, Series>();
    for (let i = 0; i < keys.length; i += KEYS_A_REQUEST)
      for (const one of await this.#ask(run, axis, keys.slice(i, i + KEYS_A_REQUEST)))
        if (one.x.length > 0) series.set(one.key, decode(one, axis));
    this.#held = new Map(this.#held).set(name, { version: run.version, series });
  }

  async #ask(run: RunRow, axis: XKey, keys: string[]): Promise<WireSeries[]> {
    const path = runPath({ entity: run.entity, project: run.project, run: run.id }, "series");
    const params = keys.map((key): [string, string] => ["key", key]);
    params.push(["x", axis], ["buckets", String(BUCKETS)]);
    return (await get<{ series: WireSeries[] }>(path, params)).series;
  }
}

/** A name with a dot is a nested key, or one key with a dot in it: only the run knows which. */
function wireKeys(name: string): string[] {
  return name.includes(".") ? [name, escaped(name)] : [name];
}

function escaped(name: string): string {
  return name.replace(/[\\.]/g, "\\$&");
}

function found(series: Map<string, Series> | undefined, metric: string): Series | undefined {
  return series?.get(metric) ?? series?.get(escaped(metric));
}
