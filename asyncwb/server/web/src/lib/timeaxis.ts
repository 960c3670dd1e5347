// The ticks of an axis of time: seconds since a run began, and times of the day and the year.

import { atLeast, linearTicks, multiples } from "./axis";
import { LAST_DATE } from "./format";

const DAY = 86400;
const MONTH = 30 * DAY;
const YEAR = 365 * DAY;

/** seconds; beyond, nobody counts in days. */
export const FAR = 1e10;

const MINUTES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
const HOURS = [2, 3, 6, 12].map((hours) => hours * 3600);

/** Round seconds, minutes, hours or days. */
export function elapsedTicks(low: number, high: number, most: number): number[] {
  const least = (high - low) / most;
  const step = [...MINUTES, ...HOURS].find((seconds) => seconds >= least);
  const far = Math.max(Math.abs(low), Math.abs(high)) >= FAR;
  if (least <= 0.5 || far) return linearTicks(low, high, most);
  if (step !== undefined) return multiples(low, high, [step, 0]);
  return linearTicks(low / DAY, high / DAY, most).map((days) => days * DAY);
}

/** Whole seconds, minutes, hours, days, months or years where people here begin them. */
export function timeTicks(low: number, high: number, most: number): number[] {
  const least = (high - low) / most;
  const far = Math.max(Math.abs(low), Math.abs(high)) > LAST_DATE - 1000 * YEAR;
  if (far || least <= 0.5) return linearTicks(low, high, most);
  const step = MINUTES.find((seconds) => seconds >= least);
  const zone = -new Date(low * 1000).getTimezoneOffset() * 60;
  if (step !== undefined)
    return multiples(low + zone, high + zone, [step, 0]).map((at) => at - zone);
  return dates(low, high, calendar(new Date(low * 1000), least));
}

/** The i-th tick of a calendar's step, counted from one at or before `start`. */
function calendar(start: Date, least: number): (i: number) => Date {
  const [year, month, day] = [start.getFullYear(), start.getMonth(), start.getDate()];
  const hours = HOURS.find((seconds) => seconds >= least);
  if (hours !== undefined) return (i) => new Date(year, month, day, (i * hours) / 3600);
  const days = [1, 2, 5, 10].find((days) => days * DAY >= least);
  if (days !== undefined) {
    const number = Math.round(Date.UTC(year, month, day) / 1000 / DAY);
    const over = ((number % days) + days) % days;
    return (i) => new Date(year, month, day - over + i * days);
  }
  const months = [1, 3, 6].find((months) => months * MONTH >= least);
  if (months !== undefined)
    return (i) => new Date(year, Math.floor(month / months) * months + i * months, 1);
  const [digit, exponent] = atLeast(Math.max(1, least / YEAR), [1, 2, 5, 10]);
  const years = digit * 10 ** exponent;
  return (i) => newYear(Math.floor(year / years) * years + i * years);
}

function newYear(year: number): Date {
  const date = new Date(2000, 0, 1);
  date.setFullYear(year); // a two-digit year would be taken for one of the last century
  return date;
}

function dates(low: number, high: number, tick: (i: number) => Date): number[] {
  const found: number[] = [];
  for (let i = 0; i < MOST; i++) {
    const at = tick(i).getTime() / 1000;
    if (!(at <= high)) break;
    if (at >= low && at > (found.at(-1) ?? -Infinity)) found.push(at);
  }
  return found;
}

const MOST = 1000;
