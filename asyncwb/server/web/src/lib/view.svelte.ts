// How the run page is being looked at. All of it lives in the URL's query, so a link shows the same.

import type { XKey } from "./api";

export type XAxis = "step" | "time" | "relative";
export const TABS = ["charts", "overview", "files", "logs", "system"] as const;
export type Tab = (typeof TABS)[number];

export const X_KEYS: Record<XAxis, XKey> = {
  step: "_step",
  time: "_timestamp",
  relative: "_runtime",
};
export const MOST_SMOOTHING = 0.99;

function pick<T extends string>(text: string | null, choices: readonly T[], fallback: T): T {
  return choices.find((choice) => choice === text) ?? fallback;
}

function numberOr<T>(text: string | null, fallback: T): number | T {
  const value = text === null || text === "" ? NaN : Number(text);
  return Number.isFinite(value) ? value : fallback;
}

export class View {
  tab = $state<Tab>("charts");
  x = $state<XAxis>("step");
  log = $state(false);
  smoothing = $state(0);
  filter = $state("");
  /** The zoomed range of the x axis, in its own units; null shows everything. */
  zoom = $state.raw<[number, number] | null>(null);
  /** Names of the sections that are folded. */
  folded = $state.raw<readonly string[]>([]);
  /** The key of the chart drawn large. */
  large = $state<string | null>(null);

  constructor(query: URLSearchParams) {
    this.tab = pick(query.get("tab"), TABS, "charts");
    this.x = pick(query.get("x"), ["step", "time", "relative"], "step");
    this.log = query.get("log") === "1";
    const smoothing = numberOr(query.get("smooth"), 0);
    this.smoothing = Math.min(MOST_SMOOTHING, Math.max(0, smoothing));
    this.filter = query.get("filter") ?? "";
    const [from, to] = [numberOr(query.get("from"), null), numberOr(query.get("to"), null)];
    this.zoom = from !== null && to !== null && from < to ? [from, to] : null;
    this.folded = query.getAll("folded");
    this.large = query.get("large");
  }

  query(): URLSearchParams {
    const query = new URLSearchParams();
    if (this.tab !== "charts") query.set("tab", this.tab);
    if (this.x !== "step") query.set("x", this.x);
    if (this.log) query.set("log", "1");
    if (this.smoothing > 0) query.set("smooth", String(this.smoothing));
    if (this.filter !== "") query.set("filter", this.filter);
    if (this.zoom) {
      query.set("from", String(this.zoom[0]));
      query.set("to", String(this.zoom[1]));
    }
    for (const name of this.folded) query.append("folded", name);
    if (this.large !== null) query.set("large", this.large);
    return query;
  }

  /** Steps are whole; times are kept to the millisecond, or finer where the range is that small. */
  setZoom(from: number, to: number): void {
    const unit = this.x === "step" ? 1 : Math.min(1e-3, 10 ** Math.floor(Math.log10(to - from) - 3));
    const low = Math.floor(from / unit) * unit;
    const high = Math.max(Math.ceil(to / unit), Math.floor(from / unit) + 1) * unit;
    const digits = Math.min(100, Math.max(0, Math.round(-Math.log10(unit))));
    this.zoom = [Number(low.toFixed(digits)), Number(high.toFixed(digits))];
  }

  /** A zoom is in the units of its axis, so another axis starts with everything. */
  setX(x: XAxis): void {
    if (x === this.x) return;
    this.x = x;
    this.zoom = null;
  }

  toggleFold(name: string): void {
    this.folded = this.folded.includes(name)
      ? this.folded.filter((other) => other !== name)
      : [...this.folded, name];
  }
}
