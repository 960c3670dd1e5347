// One run as the page knows it: what the server said last, kept fresh by the live stream.
//
// The stream carries the header's numbers and the summary; new metrics and changed config have to
// be asked for again, a little after the run moved, never in a hurry: many metrics take a while.

import { ApiError, explain, get, mergedSummary, runPath, type LiveState, type RunInfo, type RunPath } from "./api";
import { LiveStream } from "./live.svelte";
import { drawable, type Metric, type WireMetrics } from "./metrics";
import { session } from "./session.svelte";

const REFRESH = 2500;
const FIRST_REFRESH = 250;
/** How many times as long as it took to be answered nothing is asked for again. */
const LEAST_REST = 8;
const RETRY = 2000;
/** Heartbeats alone make no event: while a run says nothing, this is how often it is looked at. */
const QUIET_REFRESH = 10_000;

export class LiveRun {
  info = $state.raw<RunInfo | null>(null);
  /** What can be drawn, in order; null until it is known. */
  metrics = $state.raw<Metric[] | null>(null);
  missing = $state(false);
  trouble = $state<string | null>(null);
  stream = $state.raw<LiveStream | null>(null);
  /** Whether long values are asked for, too. */
  #whole = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = Infinity;
  #closed = false;
  #rest = 0;

  constructor(
    readonly path: RunPath,
    /** Rows were committed: charts are out of date. */
    readonly onNews: () => void,
  ) {
    void this.#load();
  }

  /** Show long values whole, from now on. */
  showAll = (): void => {
    this.#whole = true;
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
    const metrics = get<WireMetrics>(runPath(this.path, "metrics"));
    metrics.catch(() => undefined); // said below, unless the record itself failed
    try {
      const values = this.#whole ? "whole" : "short";
      const info = await get<RunInfo>(runPath(this.path), [
        ["metrics", "none"],
        ["values", values],
      ]);
      if (this.#closed) return;
      this.info = info;
      this.trouble = null;
      this.missing = false;
      if (info.state === "running") this.#loadIn(QUIET_REFRESH);
      this.stream ??= new LiveStream(
        this.path,
        (state) => this.#heard(state),
        () => void session.check(),
      );
      this.metrics = drawable(await metrics, this.metrics ?? []);
      this.#rest = LEAST_REST * (performance.now() - began);
    } catch (error) {
      if (this.#closed) return;
      // A run that was started a moment ago may not have reached the server yet.
      this.missing = error instanceof ApiError && error.status === 404;
      this.report(error);
      this.#loadIn(RETRY);
    }
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
    const summary = mergedSummary(this.info.summary, state, this.#whole);
    const figures = { version, state: name, rows, last_step, heartbeat_at, lost };
    this.info = { ...this.info, ...figures, summary };
    this.trouble = null;
    if (!moved) return;
    this.onNews();
    const none = (this.metrics?.length ?? 0) === 0;
    this.#loadIn(none ? FIRST_REFRESH : Math.max(REFRESH, this.#rest));
  }
}
