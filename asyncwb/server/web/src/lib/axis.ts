// Where an axis begins and ends, and where its ticks are: pure arithmetic over all doubles.
//
// uPlot's own search for ticks ends at 1e±32, and loops for ever where a step is lost in rounding.
// Here every number of ticks is bounded by what is asked for, and every tick is a decimal number
// that is exact to the last digit: multiples are written as text ("15e-7") and read back.

export type Range = [number, number];

/** The end of an axis: the distance of two such ends is still a number. */
export const FARTHEST = Number.MAX_VALUE / 4;
/** Data beyond `FARTHEST` is drawn times this; a power of two, so nothing is rounded. */
export const SHRINK = 1 / 4;
const LEAST = Number.MIN_VALUE;
/** Values closer together than this, measured by their size, differ by rounding only. */
const FLAT = 1e-10;

/** A tenth of room above and below, but none across zero; around one value, as much as its size. */
export function linearRange(low: number, high: number): Range {
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (size === 0) return [0, 1];
  const spread = high - low;
  if (spread <= size * FLAT) return low > 0 ? [0, near(2 * low)] : [near(2 * high), 0];
  const room = spread / 10;
  const from = low >= 0 && low < room ? 0 : low - room;
  const to = high <= 0 && -high < room ? 0 : high + room;
  const grain = parts(spread)[1] - 1;
  return [near(rounded(from, grain, Math.floor)), near(rounded(to, grain, Math.ceil))];
}

/** Down and up to one significant digit, where a log axis has ticks. Both ends are above 0. */
export function logRange(low: number, high: number): Range {
  const [from, to] = [oneDigit(low, Math.floor), oneDigit(high, Math.ceil)];
  return from < to ? [from, to] : [oneDigit(low / 2, Math.floor), oneDigit(high * 2, Math.ceil)];
}

/** All of x; around a single one, the next whole numbers (or, where doubles are sparse, more). */
export function wholeRange(low: number, high: number): Range {
  if (!Number.isFinite(high - low)) return [-FARTHEST, FARTHEST];
  if (low < high) return [low, high];
  const room = Math.max(1, Math.abs(low) * 2 ** -40);
  return [Math.max(low - room, -Number.MAX_VALUE), Math.min(high + room, Number.MAX_VALUE)];
}

/** At most about `most` (2 or more) multiples of a round number, whole ones where `finest` is 1. */
export function linearTicks(low: number, high: number, most: number, finest = LEAST): number[] {
  const size = Math.max(Math.abs(low), Math.abs(high));
  const least = Math.max((high - low) / most, finest, size * 2 ** -51);
  const digits = finest === 1 ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10];
  const found = multiples(low, high, atLeast(least, digits));
  return found.length > 0 ? found : [low]; // between the last of all doubles there is no round one
}

/** Over few decades each digit of each decade; over many, powers of ten only. */
export function logTicks(low: number, high: number, most: number): number[] {
  const [first, last] = [parts(low)[1], parts(high)[1]];
  const fine = last - first <= MOST_FINE_DECADES;
  const digits = fine ? [1, 2, 3, 4, 5, 6, 7, 8, 9] : [1];
  const [digit, exponent] = atLeast(Math.max(1, fine ? 1 : (last - first) / most), [1, 2, 5, 10]);
  const stride = decimal(digit, exponent);
  const found: number[] = [];
  for (let at = Math.floor(first / stride) * stride; at <= last; at += stride)
    for (const digit of digits) push(found, decimal(digit, at), low, high);
  return found.length > 1 ? found : [low, high];
}

/** Over more decades than this, the lines of each digit would run into a grey field. */
const MOST_FINE_DECADES = 5;

/** Which of a log axis' ticks have room for text; null for the others. */
export function logLabelled(ticks: readonly number[], most: number): (number | null)[] {
  const room = (Math.log10(ticks.at(-1) ?? 1) - Math.log10(ticks[0] ?? 1)) / most;
  const digits = DIGITS.find(([apart]) => apart >= room)?.[1] ?? "1";
  const fit = ticks.filter((tick) => digits.includes(tick.toExponential(0).charAt(0)));
  const skip = digits === "1" ? Math.ceil(fit.length / (most + 1)) : 1;
  const labelled = new Set(fit.filter((_, i) => i % skip === 0));
  const shown = ticks.map((tick) => (labelled.has(tick) ? tick : null));
  if (shown.filter((tick) => tick !== null).length > 1) return shown;
  return ticks.map((tick, i) => (i === 0 || i === ticks.length - 1 ? tick : null));
}

/** The digits that have text, and how far apart they are at least, in decades. */
const DIGITS: [number, string][] = [
  [Math.log10(10 / 9), "123456789"],
  [Math.log10(7 / 5), "12357"],
  [Math.log10(2), "125"],
];

/** The multiples of a decimal number from `low` to `high`, rising. */
export function multiples(low: number, high: number, [digit, exponent]: Decimal): number[] {
  const step = decimal(digit, exponent);
  const first = Math.ceil(low / step);
  const many = Math.min(MOST, Math.floor(high / step) - first);
  const found: number[] = [];
  for (let i = 0; i <= many; i++) push(found, decimal((first + i) * digit, exponent), low, high);
  return found;
}

/** No axis has more; a step that is asked for is far above it already. */
const MOST = 1000;

/** A digit (or 2.5, or 10) and an exponent of ten. */
export type Decimal = [number, number];

/** The least number of one of these digits and any exponent that is not below `value`. */
export function atLeast(value: number, digits: readonly number[]): Decimal {
  const exponent = parts(value)[1];
  const digit = digits.find((digit) => decimal(digit, exponent) >= value);
  return digit === undefined ? [1, exponent + 1] : [digit, exponent];
}

function push(found: number[], value: number, low: number, high: number): void {
  if (value >= low && value <= high && value > (found.at(-1) ?? -Infinity)) found.push(value);
}

function near(value: number): number {
  return Math.min(FARTHEST, Math.max(-FARTHEST, value));
}

function rounded(value: number, exponent: number, round: (value: number) => number): number {
  const grain = decimal(1, exponent);
  return grain === 0 ? value : decimal(round(value / grain), exponent);
}

function oneDigit(value: number, round: (value: number) => number): number {
  const [digits, exponent] = parts(Math.max(value, LEAST));
  const one = decimal(round(Number(digits.toPrecision(12))), exponent);
  return Math.min(Number.MAX_VALUE, Math.max(LEAST, one));
}

/** 1500 -> [1.5, 3], of a number above 0; exact where a logarithm is not. */
function parts(value: number): Decimal {
  const [digits = "1", exponent = "0"] = value.toExponential().split("e");
  return [Number(digits), Number(exponent)];
}

function decimal(digits: number, exponent: number): number {
  return Number(`${digits}e${exponent}`);
}
