// Blocks of text as W&B's own editor keeps them, as Markdown; and how JSON is read that anybody
// may have written.

export type Json = Record<string, unknown>;

/** A block as Markdown; null for one that is no text. */
export function markdownOf(block: Json): string | null {
  const children = asList(block["children"]).filter(isObject);
  switch (block["type"]) {
    case "markdown-block":
      return String(block["content"] ?? "");
    case "paragraph":
      return inline(children);
    case "heading":
      return `${"#".repeat(Math.min(6, Number(block["level"] ?? 1) || 1))} ${inline(children)}`;
    case "code-block":
      return fenced(String(block["language"] ?? ""), children.map(plainText).join("\n"));
    case "list":
      return children
        .map((item, i) => listItem(item, block["ordered"] === true ? i + 1 : null))
        .join("\n");
    case "block-quote":
      return quoted(inline(children));
    case "callout-block":
      return quoted(
        children.map((line) => inline(asList(line["children"]).filter(isObject))).join("\n"),
      );
    case "horizontal-rule":
      return "---";
    case "image":
      return `![${inline(children)}](${String(block["url"] ?? "")})`;
    default:
      return null;
  }
}

function quoted(text: string): string {
  return text.replace(/^/gm, "> ");
}

function listItem(item: Json, number: number | null): string {
  const parts = asList(item["children"]).filter(isObject);
  const texts = parts.map((part) => markdownOf(part) ?? inline([part]));
  const box = typeof item["checked"] === "boolean" ? `[${item["checked"] ? "x" : " "}] ` : "";
  const mark = number !== null || item["ordered"] === true ? `${number ?? 1}. ` : "- ";
  return mark + box + texts.join("\n").replace(/\n/g, "\n  ");
}

function plainText(node: Json): string {
  if (typeof node["text"] === "string") return node["text"];
  return asList(node["children"]).filter(isObject).map(plainText).join("");
}

function inline(nodes: readonly Json[]): string {
  return nodes.map(inlineNode).join("");
}

function inlineNode(node: Json): string {
  const children = asList(node["children"]).filter(isObject);
  if (node["type"] === "link") return `[${inline(children)}](${String(node["url"] ?? "")})`;
  if (typeof node["text"] !== "string")
    return node["content"] ? `\`${String(node["content"])}\`` : inline(children);
  if (node["text"].trim() === "") return node["text"];
  if (node["inlineCode"] === true) return `\`${node["text"]}\``;
  const text = node["text"].replace(/[\\*_[\]<>`#]/g, "\\$&");
  const strong = node["bold"] === true ? `**${text}**` : text;
  return node["italic"] === true ? `*${strong}*` : strong;
}

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function asObject(value: unknown): Json {
  return isObject(value) ? value : {};
}

export function asList(value: unknown): unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

/** A fence around a text that may hold fences itself. */
export function fenced(info: string, body: string): string {
  const inside = Math.max(
    2,
    ...[...body.matchAll(/^ {0,3}(`{3,})/gm)].map((m) => m[1]?.length ?? 0),
  );
  const fence = "`".repeat(inside + 1);
  return `${fence}${info}\n${body}\n${fence}`;
}
