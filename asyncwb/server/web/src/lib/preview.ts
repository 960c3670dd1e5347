// Which files can be looked at in place. The server's types decide for pictures; text is whatever
// is known to be text, of which only the beginning is fetched.

import type { RunFile } from "./details";

export type Preview = "image" | "text";

/** bytes of a text that are shown. */
export const TEXT_LIMIT = 128 * 1024;
const MOST_IMAGE = 32 * 2 ** 20;
const IMAGES = /\.(png|jpe?g|gif|webp|bmp|avif)$/i;
const TEXTS =
  /(^|\/)(requirements|LICENSE|README|Makefile|Dockerfile)$|\.(txt|log|md|py|ipynb|patch|diff|ya?ml|toml|ini|cfg|json|jsonl|csv|tsv|sh|js|ts|c|h|cc|cpp|cu|rs|go|java|html|xml|tex|sql)$/i;

export function kindOf({ name, sizeBytes, mimetype }: RunFile): Preview | null {
  if (IMAGES.test(name)) return (sizeBytes ?? 0) <= MOST_IMAGE ? "image" : null;
  const text = TEXTS.test(name) || /^text\/|^application\/json/.test(mimetype ?? "");
  return text ? "text" : null;
}
