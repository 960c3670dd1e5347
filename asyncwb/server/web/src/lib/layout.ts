// Where sections and their charts are on the page: all have known heights, so that only what is in
// sight has to exist. Distances in px, from the top of the first section.

import type { Group } from "./keys";

export const HEAD = 30;
export const CARD = 218;
export const LARGE_CARD = 458;
export const GAP = 10;
const LEAST_CARD_WIDTH = 380;
const BETWEEN = 14;
/** Browsers have a highest element: Firefox at about 17.8 million px. */
const HIGHEST = 15_000_000;

export interface Span {
  top: number;
  bottom: number;
}

/** A section with what of its charts is in sight: items [from, to), the first of them at `at`. */
export interface Shown<T> extends Span {
  group: Group<T>;
  from: number;
  to: number;
  at: number;
}

export function columnsIn(width: number): number {
  return Math.max(1, Math.floor((width + GAP) / (LEAST_CARD_WIDTH + GAP)));
}

interface Section<T> extends Span {
  group: Group<T>;
  /** The place of the item that is drawn large, over all columns; -1 for none. */
  large: number;
  folded: boolean;
}

export class Layout<T> {
  readonly #sections: Section<T>[] = [];
  readonly #columns: number;
  readonly height: number;
  /** How many items have no place, because the page would be too high. */
  readonly left: number;

  constructor(
    groups: readonly Group<T>[],
    columns: number,
    folded: (name: string) => boolean,
    isLarge: (item: T) => boolean,
  ) {
    this.#columns = columns;
    let [top, left] = [0, 0];
    for (const group of groups) {
      const most = columns * Math.floor(Math.max(0, HIGHEST - top - HEAD) / (CARD + GAP));
      const items = group.items.length > most ? group.items.slice(0, most) : group.items;
      left += group.items.length - items.length;
      if (most === 0) continue;
      const section = {
        group: { name: group.name, items },
        large: items.findIndex(isLarge),
        folded: folded(group.name),
        top,
        bottom: top,
      };
      section.bottom += HEAD + (section.folded ? 0 : this.#bodyOf(section));
      this.#sections.push(section);
      top = section.bottom + BETWEEN;
    }
    this.height = top;
    this.left = left;
  }

  /** The sections, and the charts of them, that reach into a span of the page. */
  within({ top, bottom }: Span): Shown<T>[] {
    const shown: Shown<T>[] = [];
    for (let i = this.#firstBelow(top); i < this.#sections.length; i++) {
      const section = this.#sections[i];
      if (section === undefined || section.top >= bottom) break;
      shown.push(this.#cut(section, top, bottom));
    }
    return shown;
  }

  #firstBelow(top: number): number {
    let [low, high] = [0, this.#sections.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#sections[middle]?.bottom ?? Infinity) <= top) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #cut(section: Section<T>, top: number, bottom: number): Shown<T> {
    const { group, folded } = section;
    const place = { group, top: section.top, bottom: section.bottom };
    if (folded) return { ...place, from: 0, to: 0, at: HEAD };
    const body = section.top + HEAD;
    const rows = this.#rows(section);
    let first = 0;
    while (first < rows - 1 && body + this.#topOf(section, first + 1) <= top)
      first += this.#skip(section, first, top - body);
    let last = first;
    while (last < rows && body + this.#topOf(section, last) < bottom) last += 1;
    const [from, to] = [this.#itemOf(section, first), this.#itemOf(section, last)];
    return { ...place, from, to, at: HEAD + this.#topOf(section, first) };
  }

  /** How many rows can be gone ahead at once: of those above the large one or below it, all. */
  #skip(section: Section<T>, row: number, to: number): number {
    const rows = Math.floor((to - this.#topOf(section, row)) / (CARD + GAP)) - 3;
    const large = this.#largeRow(section);
    const room = large > row ? large - row : Infinity;
    return Math.max(1, Math.min(rows, room));
  }

  #largeRow({ large }: Section<T>): number {
    return large < 0 ? -1 : Math.ceil(large / this.#columns);
  }

  #rows({ group, large }: Section<T>): number {
    if (large < 0) return Math.ceil(group.items.length / this.#columns);
    const after = group.items.length - large - 1;
    return Math.ceil(large / this.#columns) + 1 + Math.ceil(after / this.#columns);
  }

  #topOf(section: Section<T>, row: number): number {
    const large = this.#largeRow(section);
    return row * (CARD + GAP) + (large >= 0 && row > large ? LARGE_CARD - CARD : 0);
  }

  /** The first item of a row; that of the row behind the last is the number of items. */
  #itemOf({ group, large }: Section<T>, row: number): number {
    const before = large < 0 ? Infinity : Math.ceil(large / this.#columns);
    const items = group.items.length;
    if (row < before) return Math.min(items, row * this.#columns);
    if (row === before) return large;
    return Math.min(items, large + 1 + (row - before - 1) * this.#columns);
  }

  #bodyOf(section: Section<T>): number {
    const rows = this.#rows(section);
    return this.#topOf(section, rows) - (rows > 0 ? GAP : 0);
  }
}
