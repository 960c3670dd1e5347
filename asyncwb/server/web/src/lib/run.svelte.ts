// One run as the page knows it: what the server said last, kept fresh by the live stream.
//
// The stream carries the header's numbers; new metrics have to be asked for again, a little after the
// run moved, never in a hurry: many metrics take a while. The first of them come ahead of the rest,
// which are asked for once the charts in sight are there. Config and summary, which may be as large, are asked for and kept
// fresh from when somebody looks at them (`showValues`).

import { ApiError, explain, get, mergedSummary, runPath, type RunPath } from "./api";
import { LiveStream } from "./live.svelte";
import { metricsOf, type Metric } from "./metrics";
import { session } from "./session.svelte";
import type { LiveState, RunFigures, RunInfo, WireMetrics } from "./wire";

const REFRESH = 2500;
const FIRST_REFRESH = 250;
/** How many times as long as it took to be answered nothing is asked for again. */
const LEAST_REST = 8;
const RETRY = 2000;
/** Heartbeats alone make no event: while a run says nothing, this is how often it is looked at. */
const QUIET_REFRESH = 10_000;

/** More metrics than fit into sight, and few enough to be read, sent and drawn at once. */
const FIRST_METRICS = 200;
/** How long the rest of the metrics wait for the first charts: none may be in sight. */
const CHARTS_FIRST = 1000;

type Values = Required<Pick<RunInfo, "config" | "summary">>;

export class LiveRun {
  info = $state.raw<RunFigures | null>(null);
  /** Config and summary; null until somebody looks at them and they are known. */
  values = $state.raw<Values | null>(null);
  /** What can be drawn, in order; null until the first of it is known. */
  metrics = $state.raw<Metric[] | null>(null);
  /** How many metrics there are: more than are known, for a moment. */
  total = $state(0);
  missing = $state(false);
  trouble = $state<string | null>(null);
  stream = $state.raw<LiveStream | null>(null);
  /** How config and summary are asked for. */
  #wanted: "none" | "short" | "whole" = "none";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = Infinity;
  #closed = false;
  #rest = 0;

  constructor(
    readonly path: RunPath,
    /** Rows were committed: charts are out of date. */
    readonly onNews: () => void,
    /** The first charts are there. */
    readonly charts: Promise<void>,
    /** Whether config and summary are looked at from the start. */
    values: boolean,
  ) {
    if (values) this.#wanted = "short";
    void this.#load();
  }

  /** Ask for config and summary, and keep them fresh, from now on. */
  showValues(): void {
    if (this.#wanted !== "none") return;
    this.#wanted = "short";
    if (this.stream) this.#listen();
    this.#loadIn(0);
  }

  /** Show long values whole, from now on. */
  showAll = (): void => {
    this.#wanted = "whole";
    this.#loadIn(0);
  };

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.stream?.close();
  }

  report(error: unknown): void {
    this.trouble = explain(error);
  }

  async #load(): Promise<void> {
    this.#due = Infinity;
    const began = performance.now();
    const metrics = this.#loadMetrics();
    metrics.catch(() => undefined); // said below, unless the record itself failed
    try {
      const { config, summary, ...info } = await get<RunInfo>(runPath(this.path), [
        ["metrics", "none"],
        ["values", this.#wanted],
      ]);
      if (this.#closed) return;
      this.info = info;
      if (config && summary) this.values = { config, summary };
      this.trouble = null;
      this.missing = false;
      if (info.state === "running") this.#loadIn(QUIET_REFRESH);
      if (this.stream === null) this.#listen();
      await metrics;
      this.#rest = LEAST_REST * (performance.now() - began);
    } catch (error) {
      if (this.#closed) return;
      // A run that was started a moment ago may not have reached the server yet.
      this.missing = error instanceof ApiError && error.status === 404;
      this.report(error);
      this.#loadIn(RETRY);
    }
  }

  async #loadMetrics(): Promise<void> {
    const path = runPath(this.path, "metrics");
    if (this.metrics === null) {
      const first = await get<WireMetrics>(path, [["first", FIRST_METRICS]]);
      this.#take(first);
      if (first.key.length === first.total) return;
      const patience = new Promise((resolve) => setTimeout(resolve, CHARTS_FIRST));
      await Promise.race([this.charts, patience]);
      if (this.#closed) return;
    }
    this.#take(await get<WireMetrics>(path));
  }

  #take(wire: WireMetrics): void {
    this.metrics = metricsOf(wire, this.metrics ?? []);
    this.total = wire.total;
  }

  #listen(): void {
    this.stream?.close();
    this.stream = new LiveStream(
      this.path,
      this.#wanted !== "none",
      (state) => this.#heard(state),
      () => void session.check(),
    );
  }

  #loadIn(delay: number): void {
    const due = performance.now() + delay;
    if (due >= this.#due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => void this.#load(), delay);
  }

  #heard(state: LiveState): void {
    if (!this.info) return;
    const moved = state.version !== this.info.version || state.rows !== this.info.rows;
    const { version, state: name, rows, last_step, heartbeat_at, lost } = state;
    const figures = { version, state: name, rows, last_step, heartbeat_at, lost };
    this.info = { ...this.info, ...figures };
    if (this.values) {
      const keep = this.#wanted === "whole";
      const summary = mergedSummary(this.values.summary, state, keep);
      this.values = { ...this.values, summary };
    }
    this.trouble = null;
    if (!moved) return;
    this.onNews();
    const none = (this.metrics?.length ?? 0) === 0;
    this.#loadIn(none ? FIRST_REFRESH : Math.max(REFRESH, this.#rest));
  }
}
