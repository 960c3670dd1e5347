// Metric keys: wire paths (nested keys joined with ".", a literal dot written "\.") for people.

/** "a.b\.c" -> "a.b.c" */
export function display(path: string): string {
  return path.replace(/\\([.\\])/g, "$1");
}

/** A name where it stands alone: one without a visible character is quoted. */
export function titled(name: string): string {
  return name.trim() === "" ? JSON.stringify(name) : name;
}

export interface Group<T> {
  name: string;
  items: T[];
}

export const UNGROUPED = "charts";

/** The text before the last "/" of a metric's shown name; without one, "charts". */
export function groupOf(name: string): string {
  const slash = name.lastIndexOf("/");
  return slash > 0 ? name.slice(0, slash) : UNGROUPED;
}

/** What is left of the shown name inside its section. */
export function shortName(name: string): string {
  const slash = name.lastIndexOf("/");
  return slash > 0 && slash < name.length - 1 ? name.slice(slash + 1) : name;
}

const order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/** layer2 before layer10. */
export function naturalOrder(a: string, b: string): number {
  return order.compare(a, b);
}

/** A filter typed by a person: words that must all occur, or a /regular expression/. */
export function matcher(filter: string): (name: string) => boolean {
  const text = filter.trim();
  if (text === "") return () => true;
  const regex = /^\/(.+)\/$/.exec(text)?.[1];
  if (regex !== undefined) {
    try {
      const compiled = new RegExp(regex, "i");
      return (name) => compiled.test(name);
    } catch {
      return () => false;
    }
  }
  const words = text.toLowerCase().split(/\s+/);
  return (name) => words.every((word) => name.toLowerCase().includes(word));
}
