// The text at the ticks of an axis: as short as tells the ticks apart, and true.

import { duration, LAST_DATE, trimExponent } from "./format";
import { FAR } from "./timeaxis";

const UNITS: [number, string][] = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];
/** Doubles that differ do so within these. */
const MOST_DIGITS = 16;
/** How much of the distance to its neighbour a label may be off. */
const TRUE = 1e-3;

/** Numbers: with as few digits as keep neighbouring ticks apart. */
export function ticks(values: readonly number[]): string[] {
  const top = Math.max(0, ...values.map(Math.abs));
  const off = TRUE * (gapOf(values) ?? top);
  const written = top !== 0 && (top < 1e-3 || top >= 1e15) ? power : plainOf(top);
  for (let digits = 0; digits <= MOST_DIGITS; digits++) {
    const labels = values.map((value) => written(value, digits));
    if (labels.every(([, said], i) => Math.abs(said - (values[i] ?? 0)) <= off))
      return labels.map(([text]) => text);
  }
  return values.map(String);
}

/** What is written, and the number that one reads there. */
type Written = (value: number, digits: number) => [string, number];

const power: Written = (value, digits) => {
  if (value === 0) return ["0", 0];
  const text = value.toExponential(digits);
  return [trimExponent(text), Number(text)];
};

function plainOf(top: number): Written {
  const large = top >= 1e4; // below that, whole numbers are as short
  const [unit, letter] = UNITS.find(([size]) => large && top >= size) ?? [1, ""];
  return (value, digits) => {
    if (value === 0) return ["0", 0];
    return [decimals(digits).format(value / unit) + letter, Number((value / unit).toFixed(digits)) * unit];
  };
}

const formats = new Map<number, Intl.NumberFormat>();
function decimals(digits: number): Intl.NumberFormat {
  const made =
    formats.get(digits) ??
    new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  formats.set(digits, made);
  return made;
}

/** The least distance of two neighbours; null where there are none. */
function gapOf(values: readonly number[]): number | null {
  const gaps = values.slice(1).map((value, i) => Math.abs(value - (values[i] ?? 0)));
  return gaps.length > 0 ? Math.min(...gaps) : null;
}

const few = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });

/**
 * A tick of a log axis has one digit, but for the largest of all doubles, which is no 2e308; null is
 * one without room for text.
 */
export function logLabel(value: number | null): string | null {
  if (value === null) return null;
  if (value < 1e5 && value >= 1e-4) return few.format(value);
  const [one, two] = [value.toExponential(0), value.toExponential(1)];
  const same = Math.abs(Number(one.charAt(0)) - Number(two.slice(0, 3))) <= 0.1;
  return trimExponent(same ? one : two);
}

const DAY = 86400;

/** Seconds since a run began: 90 -> "1m 30s", in two units or as many as tell the ticks apart. */
export function elapsedLabels(values: readonly number[]): string[] {
  const top = Math.max(0, ...values.map(Math.abs));
  const fractions = values.some((value) => !Number.isInteger(value));
  if (fractions || top < 60 || top >= FAR) return ticks(values).map((text) => `${text}s`);
  for (const units of [2, 3]) {
    const labels = values.map((value) => signed(value, units));
    if (new Set(labels).size === values.length) return labels;
  }
  return values.map((value) => signed(value, 4));
}

function signed(seconds: number, units: number): string {
  return (seconds < 0 ? "−" : "") + duration(Math.abs(seconds), units);
}

function timeFormat(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  return new Intl.DateTimeFormat(undefined, options);
}

const toMinutes = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } as const;
const toSeconds = { ...toMinutes, second: "2-digit" } as const;
const clock = timeFormat(toMinutes);
const seconds = timeFormat(toSeconds);
const thousandths = timeFormat({ ...toSeconds, fractionalSecondDigits: 3 });
const day = timeFormat({ day: "numeric", month: "short" });
const month = timeFormat({ month: "short", year: "numeric" });

/** Times: as fine as the distance of the ticks is; midnight is a day. */
export function timeLabels(values: readonly number[]): string[] {
  const gap = gapOf(values) ?? DAY;
  if (gap < 1e-3 || values.some((at) => Math.abs(at) > LAST_DATE)) return ticks(values);
  return values.map((at) => {
    const moment = new Date(Math.round(at * 1000));
    if (gap >= 360 * DAY) return String(moment.getFullYear());
    if (gap >= 27 * DAY) return month.format(moment);
    if (gap < 1) return thousandths.format(moment);
    const midnight = moment.getHours() + moment.getMinutes() + moment.getSeconds() === 0;
    if (gap >= 22 * 3600 || midnight) return day.format(moment);
    return (gap < 60 ? seconds : clock).format(moment);
  });
}
