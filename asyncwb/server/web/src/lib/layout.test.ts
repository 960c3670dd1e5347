import fc from "fast-check";
import { expect, test } from "vitest";
import { CARD, columnsIn, GAP, HEAD, LARGE_CARD, Layout } from "./layout";

interface Placed {
  item: number;
  top: number;
  bottom: number;
}

/** Where a grid of CSS puts the items of one section, from its top. */
function placed(items: readonly number[], columns: number, large: number | null): Placed[] {
  const found: Placed[] = [];
  let [top, column] = [HEAD, 0];
  for (const item of items) {
    const height = item === large ? LARGE_CARD : CARD;
    if (item === large && column > 0) [top, column] = [top + CARD + GAP, 0];
    found.push({ item, top, bottom: top + height });
    column += item === large ? columns : 1;
    if (column >= columns) [top, column] = [top + height + GAP, 0];
  }
  return found;
}

const groups = fc
  .array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 12 })
  .map((sizes) => sizes.map((size, g) => ({ name: `g${g}`, size })))
  .map((all) => {
    let next = 0;
    return all.map(({ name, size }) => ({
      name,
      items: Array.from({ length: size }, () => next++),
    }));
  });

test("what reaches into a span is there, where a grid would have it, and little else", () => {
  const check = (
    all: { name: string; items: number[] }[],
    columns: number,
    large: number | null,
    folded: number,
    at: number,
    height: number,
  ): void => {
    const layout = new Layout(all, columns, (name) => name === `g${folded}`, (item) => item === large);
    const [top, bottom] = [at * layout.height - 500, at * layout.height - 500 + height];
    const shown = layout.within({ top, bottom });
    let before = 0;
    for (const { name, items } of all) {
      const part = shown.find(({ group }) => group.name === name);
      const own = name === `g${folded}` ? [] : placed(items, columns, large);
      const end = before + Math.max(HEAD, ...own.map((one) => one.bottom));
      expect(part !== undefined).toBe(before < bottom && end > top);
      if (part) {
        expect([part.top, part.bottom]).toEqual([before, end]);
        const drawn = part.group.items.slice(part.from, part.to);
        const seen = own.filter((one) => one.top + before < bottom && one.bottom + before > top);
        for (const { item } of seen) expect(drawn).toContain(item);
        // A row above at most, whose lower edge has just gone out of sight, and the gap below it.
        expect(drawn.length).toBeLessThanOrEqual(seen.length + 2 * columns);
        const first = own.find(({ item }) => item === drawn[0]);
        if (first) expect(part.at).toBe(first.top);
      }
      before = end + 14;
    }
    expect(layout.height).toBe(before);
  };
  const large = fc.option(fc.integer({ min: 0, max: 100 }));
  const span = [fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 100, max: 3000 })] as const;
  const columns = fc.integer({ min: 1, max: 5 });
  fc.assert(fc.property(groups, columns, large, fc.integer({ min: -1, max: 3 }), ...span, check));
});

test("a page is as high as browsers can have it, and says how much has no place", () => {
  const items = Array.from({ length: 200_000 }, (_, i) => i);
  const many = Array.from({ length: 1000 }, (_, g) => ({
    name: `g${g}`,
    items: items.slice(200 * g, 200 * (g + 1)),
  }));
  for (const groups of [[{ name: "g", items }], many]) {
    const layout = new Layout(groups, 1, () => false, () => false);
    expect(layout.height).toBeLessThan(15_000_100);
    const last = layout.within({ top: layout.height - 300, bottom: layout.height });
    const end = last.at(-1);
    expect(end?.group.items[end.to - 1]).toBe(200_000 - layout.left - 1);
    expect(layout.left).toBeGreaterThan(100_000);
  }
});

test("cards are at least as wide as before, and there is always one", () => {
  expect([0, 100, 769, 770, 1400].map(columnsIn)).toEqual([1, 1, 1, 2, 3]);
});
