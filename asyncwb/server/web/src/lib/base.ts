// Where the page lives on its host: at the root, or under the path that a proxy serves it at.
// The server says which (in index.html); everything that makes or reads an address asks here.

const said =
  typeof document === "undefined" ? null : document.querySelector('meta[name="base-path"]');
const base = said?.getAttribute("content") ?? "";

/** An address of this server, as the browser has to ask for it: "/files/a" -> "/tracker/files/a". */
export function at(path: string): string {
  return base + path;
}

/** The other way: "/tracker/files/a" -> "/files/a"; null for what is not this server's. */
export function local(path: string): string | null {
  if (base === "") return path;
  if (path === base) return "/";
  return path.startsWith(`${base}/`) ? path.slice(base.length) : null;
}
