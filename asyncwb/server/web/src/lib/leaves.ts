// Nested values as flat rows for a table: objects are walked, lists and scalars are leaves.

import { isCut } from "./api";
import { naturalOrder } from "./keys";

export interface Leaf {
  name: string;
  value: unknown;
}

export function leaves(
  values: Record<string, unknown>,
  nameOf: (key: string) => string = (key) => key,
): Leaf[] {
  const found: Leaf[] = [];
  for (const [key, value] of Object.entries(values)) walk(nameOf(key), value, found);
  return found.sort((a, b) => naturalOrder(a.name, b.name));
}

function walk(name: string, value: unknown, found: Leaf[]): void {
  const inner = isObject(value) && !isCut(value) ? Object.entries(value) : [];
  if (inner.length === 0) found.push({ name, value });
  for (const [key, deeper] of inner) walk(`${name}.${key}`, deeper, found);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
