// Numbers, durations and dates as short text. Nothing is rounded to something that misleads:
// a value that would lose its sign or become 0 keeps its exponent.

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

function trimExponent(text: string): string {
  return text.replace(/\.?0+e/, "e").replace("e+", "e");
}

const UNITS: [number, string][] = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

/** The labels of one axis: as few digits as keep neighbouring ticks apart. */
export function ticks(values: readonly number[]): string[] {
  const top = Math.max(...values.map(Math.abs));
  const gap = values.length > 1 ? Math.abs((values[1] ?? 0) - (values[0] ?? 0)) : top;
  if (top !== 0 && (top < 1e-3 || top >= 1e15)) {
    const digits = Math.max(0, exponent(top) + decimals(gap / 10 ** exponent(gap)) - exponent(gap));
    return values.map((v) => (v === 0 ? "0" : trimExponent(v.toExponential(digits))));
  }
  const large = top >= 1e4; // below that, whole numbers are as short
  const [unit, letter] = UNITS.find(([size]) => large && top >= size) ?? [1, ""];
  const digits = decimals(gap / unit);
  const shown = new Intl.NumberFormat("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return values.map((v) => (v === 0 ? "0" : shown.format(v / unit) + letter));
}

/** How many decimals tell multiples of `gap` apart: 2.5 -> 1, 50 -> 0. */
function decimals(gap: number): number {
  const first = Math.max(0, -exponent(gap));
  const whole = gap * 10 ** first;
  return Math.min(12, Math.abs(whole - Math.round(whole)) < 1e-6 ? first : first + 1);
}

function exponent(value: number): number {
  return value === 0 ? 0 : Math.floor(Math.log10(value) + 1e-9);
}

/** 75 -> "1m 15s"; at most two units. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [d, h] = [Math.floor(whole / 86400), Math.floor((whole % 86400) / 3600)];
  const [m, s] = [Math.floor((whole % 3600) / 60), whole % 60];
  if (d > 0) return h > 0 ? `${d}d ${h}h` : `${d}d`;
  if (h > 0) return m > 0 ? `${h}h ${m}m` : `${h}h`;
  if (m > 0) return s > 0 ? `${m}m ${s}s` : `${m}m`;
  return `${s}s`;
}

/** A relative-time axis: 0.5 -> "0.5s", 90 -> "1m 30s". */
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

const clock = timeFormat({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const seconds = timeFormat({
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const day = timeFormat({ day: "numeric", month: "short" });

function timeFormat(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  return new Intl.DateTimeFormat(undefined, options);
}

/** A time axis whose ticks are `step` seconds apart: seconds, minutes or days; midnight is a day. */
export function times(values: readonly number[], step: number): string[] {
  return values.map((at) => {
    const moment = new Date(at * 1000);
    const midnight = moment.getHours() + moment.getMinutes() + moment.getSeconds() === 0;
    if (step >= 86400 || midnight) return day.format(moment);
    return (step < 60 ? seconds : clock).format(moment);
  });
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

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function date(at: number | null): string {
  return at === null ? "" : full.format(new Date(at * 1000));
}

/** Any config or summary value as one line of text. */
export function plain(value: unknown): string {
  if (typeof value === "number") return number(value);
  if (typeof value === "string") return value;
  return JSON.stringify(value) ?? "–";
}
