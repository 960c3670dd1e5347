// Loads the series of the charts that can be seen, and only those.
//
// Each visible chart registers a Watch. A watch is dirty when the run has news, when the zoom or
// the axis changed, or before its first answer. One pump asks for the dirty ones, many keys a
// request; news that arrives meanwhile waits for the next turn, so that a fast run costs the
// server a bounded number of requests. A change of the question abandons answers on their way.
// Where the server refuses a request, its keys are asked for one by one: one must not cost others.

import { ApiError, get, runPath, type RunPath, type XKey } from "./api";
import type { Metric } from "./metrics";
import { decode, type Series } from "./series";
import type { WireSeries } from "./wire";

const KEYS_A_REQUEST = 12;
/** characters of the keys in one address, of the 8,000 that a server takes */
const LONGEST_REQUEST = 4000;
const LEAST_PAUSE = 400;
const LONGEST_RETRY = 10_000;

export interface Question {
  x: XKey;
  zoom: [number, number] | null;
}

interface Watch {
  key: string;
  buckets: number;
  /** So few rows that the whole series is exact: zooming needs no finer one, and keeps its edges. */
  whole: boolean;
  dirty: boolean;
  onSeries: (series: Series) => void;
}

export class SeriesLoader {
  #watches = new Set<Watch>();
  #question: Question;
  #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #busy = false;
  #closed = false;
  #notBefore = 0;
  #failures = 0;
  #answer: () => void = () => undefined;
  /** Kept once the charts that were in sight first have their series, or failed to get them. */
  readonly answered: Promise<void>;

  constructor(
    readonly run: RunPath,
    question: Question,
    readonly onTrouble: (error: unknown) => void,
  ) {
    this.#question = question;
    this.answered = new Promise((resolve) => (this.#answer = resolve));
  }

  /** Keeps one visible chart up to date until the returned function is called. */
  watch(
    { key, count }: Pick<Metric, "key" | "count">,
    buckets: number,
    onSeries: Watch["onSeries"],
  ): () => void {
    const whole = count <= buckets;
    const watch: Watch = { key, buckets, whole, dirty: true, onSeries };
    this.#watches.add(watch);
    this.#schedule(0);
    return () => this.#watches.delete(watch);
  }

  ask(question: Question): void {
    this.#question = question;
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#notBefore = 0;
    this.#markAll();
    this.#schedule(0);
  }

  /** The run has news: refetch what is visible, soon. */
  news(): void {
    this.#markAll();
    this.#schedule(this.#notBefore - performance.now());
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#abort.abort();
    this.#watches.clear();
  }

  #markAll(): void {
    for (const watch of this.#watches) watch.dirty = true;
  }

  #schedule(delay: number): void {
    if (this.#busy || this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#pump(), Math.max(0, delay));
  }

  async #pump(): Promise<void> {
    this.#busy = true;
    const started = performance.now();
    const dirty = [...this.#watches].filter((watch) => watch.dirty);
    try {
      for (const [watches, question] of this.#requests(dirty)) await this.#load(watches, question);
      this.#failures = 0;
      this.#rest(performance.now() - started);
    } catch (error) {
      if (!this.#abort.signal.aborted && !isAbort(error)) this.#failed(error);
    }
    this.#busy = false;
    if (dirty.length > 0) this.#answer();
    const more = [...this.#watches].some((watch) => watch.dirty);
    if (more) this.#schedule(this.#notBefore - performance.now());
  }

  /** Twice as long a rest as the work took: the server is never asked more than a third of the time. */
  #rest(took: number): void {
    this.#notBefore = performance.now() + Math.max(LEAST_PAUSE, 2 * took);
  }

  #failed(error: unknown): void {
    this.#failures += 1;
    const pause = Math.min(LEAST_PAUSE * 2 ** this.#failures, LONGEST_RETRY);
    this.#notBefore = performance.now() + pause;
    this.onTrouble(error);
  }

  #requests(dirty: Watch[]): [Watch[], Question][] {
    const question = this.#question;
    const everything = { x: question.x, zoom: null };
    const alike = new Map<string, Watch[]>();
    for (const watch of dirty) {
      const kind = `${watch.whole} ${watch.buckets}`;
      alike.set(kind, [...(alike.get(kind) ?? []), watch]);
    }
    return [...alike.values()].flatMap((watches) => {
      const asked = watches[0]?.whole ? everything : widened(question);
      return chunks(watches).map((chunk): [Watch[], Question] => [chunk, asked]);
    });
  }

  async #load(watches: Watch[], question: Question): Promise<void> {
    const signal = this.#abort.signal;
    for (const watch of watches) watch.dirty = false;
    try {
      const answers = await this.#fetch(watches, question, signal);
      if (!signal.aborted) for (const watch of watches) this.#hand(watch, answers, question);
    } catch (error) {
      if (isRefusal(error)) return this.#refused(watches, question, error);
      for (const watch of watches) watch.dirty = true;
      throw error;
    }
  }

  async #refused(watches: Watch[], question: Question, error: unknown): Promise<void> {
    if (watches.length > 1) for (const watch of watches) await this.#load([watch], question);
    else this.onTrouble(error);
  }

  #hand(watch: Watch, answers: Map<string, Series>, question: Question): void {
    const series = answers.get(watch.key);
    if (series === undefined || !this.#watches.has(watch)) return;
    if (question.zoom === null) {
      const zoomed = this.#question.zoom !== null;
      watch.whole = series.exact;
      watch.dirty ||= zoomed && !series.exact;
    }
    watch.onSeries(series);
  }

  async #fetch(
    watches: Watch[],
    question: Question,
    signal: AbortSignal,
  ): Promise<Map<string, Series>> {
    const params: [string, string | number][] = watches.map((watch) => ["key", watch.key]);
    params.push(["buckets", watches[0]?.buckets ?? 1], ["x", question.x]);
    if (question.zoom) params.push(["min", question.zoom[0]], ["max", question.zoom[1]]);
    const path = runPath(this.run, "series");
    const answer = await get<{ series: WireSeries[] }>(path, params, signal);
    return new Map(answer.series.map((series) => [series.key, decode(series, question.x)]));
  }
}

/** A tenth more on both sides, so that lines reach the edges of the chart. */
function widened({ x, zoom }: Question): Question {
  if (zoom === null) return { x, zoom };
  const margin = (zoom[1] - zoom[0]) / 10;
  const [from, to] = [zoom[0] - margin, zoom[1] + margin];
  return { x, zoom: x === "_step" ? [Math.floor(from), Math.ceil(to)] : [from, to] };
}

function chunks(watches: readonly Watch[]): Watch[][] {
  const parts: Watch[][] = [];
  let room = 0;
  for (const watch of watches) {
    room -= encodeURIComponent(watch.key).length;
    const last = parts.at(-1);
    if (last && room >= 0 && last.length < KEYS_A_REQUEST) last.push(watch);
    else {
      parts.push([watch]);
      room = LONGEST_REQUEST - encodeURIComponent(watch.key).length;
    }
  }
  return parts;
}

/** The server does not answer this request, however often it is sent. */
function isRefusal(error: unknown): boolean {
  return error instanceof ApiError && [400, 413, 414, 431].includes(error.status);
}

function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
