// Numbers, durations and dates as short text. Nothing is rounded to something that misleads:
// a value that would lose its sign or become 0 keeps its exponent.

import { isCut } from "./api";

const group = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const five = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : group.format(value);
}

/** Five significant digits; an exponent beyond 1e6 and below 1e-4. Integers up to 1e9 whole. */
export function number(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) return group.format(value);
  if (size >= 1e6 || size < 1e-4) return trimExponent(value.toExponential(4));
  return five.format(value);
}

/** 1.50e+7 -> 1.5e7 */
export function trimExponent(text: string): string {
  return text.replace(/\.?0+e/, "e").replace("e+", "e");
}

/** 75 -> "1m 15s"; in at most so many units, the largest first. */
export function duration(seconds: number, units = 2): string {
  const whole = Math.max(0, Math.round(seconds));
  const amounts: [number, string][] = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor((whole % 86400) / 3600), "h"],
    [Math.floor((whole % 3600) / 60), "m"],
    [whole % 60, "s"],
  ];
  const first = amounts.findIndex(([amount]) => amount > 0);
  if (first < 0) return "0s";
  const shown = amounts.slice(first, first + units).filter(([amount]) => amount > 0);
  return shown.map(([amount, unit]) => `${amount}${unit}`).join(" ");
}

/** Seconds since a run began: 0.5 -> "0.5s", 90 -> "1m 30s". */
export function elapsed(seconds: number): string {
  if (Math.abs(seconds) < 60) return `${Number(seconds.toPrecision(4))}s`;
  return (seconds < 0 ? "−" : "") + duration(Math.abs(seconds));
}

/** One unit is enough to say how old something is, and a page of ages does not flicker. */
export function ago(at: number | null, now: number): string {
  if (at === null) return "–";
  const seconds = Math.round(now - at);
  if (seconds < 2) return "just now";
  return `${duration(seconds).split(" ")[0]} ago`;
}

/** 1536 -> "1.5 KiB" */
export function bytes(size: number): string {
  const power = Math.min(4, Math.floor(Math.log2(Math.max(1, size)) / 10));
  const unit = ["B", "KiB", "MiB", "GiB", "TiB"][power] ?? "B";
  const value = size / 1024 ** power;
  return `${power === 0 ? value : value.toPrecision(value < 1000 ? 3 : 4)} ${unit}`;
}

/** The server's ISO dates are in UTC, with or without saying so. */
export function unix(text: string | null): number | null {
  if (text === null) return null;
  return Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`) / 1000;
}

/** seconds; a `Date` knows none beyond, and its format throws. */
export const LAST_DATE = 8.64e12;
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function date(at: number | null): string {
  if (at === null) return "";
  return Math.abs(at) <= LAST_DATE ? full.format(new Date(at * 1000)) : number(at);
}

/** Any config or summary value as one line of text. */
export function plain(value: unknown): string {
  if (typeof value === "number") return number(value);
  if (typeof value === "string") return value;
  if (isCut(value)) return `${value.start}… (${bytes(value.bytes)})`;
  return JSON.stringify(value) ?? "–";
}
