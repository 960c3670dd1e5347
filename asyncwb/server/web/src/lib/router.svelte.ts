// Where the page is: the path as a typed route, kept in step with the browser's history.

import { at, local } from "./base";

export type Route =
  | { page: "projects"; entity: string | null }
  | { page: "runs"; entity: string; project: string }
  | { page: "run"; entity: string; project: string; run: string }
  | { page: "sweeps"; entity: string; project: string }
  | { page: "sweep"; entity: string; project: string; sweep: string }
  | { page: "reports"; entity: string; project: string }
  | { page: "report"; entity: string; project: string; report: string }
  | { page: "project"; entity: string; project: string }
  | { page: "settings" }
  | { page: "team"; team: string }
  | { page: "invite" }
  | { page: "login" }
  | { page: "missing" };

export function parse(path: string): Route {
  let parts: string[];
  try {
    parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return { page: "missing" };
  }
  const [entity, project] = parts;
  if (entity === undefined) return { page: "projects", entity: null };
  const own = OWN_PAGES[entity]?.(parts);
  if (own) return own;
  if (project === undefined) return { page: "projects", entity };
  return ofProject(entity, project, parts.slice(2));
}

/** Names that no entity can have: the server keeps them for these pages. */
const OWN_PAGES: Record<string, (parts: string[]) => Route | null> = {
  login: ({ length }) => (length === 1 ? { page: "login" } : null),
  settings: ({ length }) => (length === 1 ? { page: "settings" } : null),
  invite: ({ length }) => (length <= 2 ? { page: "invite" } : null),
  teams: ([, team, more]) =>
    team !== undefined && more === undefined ? { page: "team", team } : null,
};

function ofProject(entity: string, project: string, parts: string[]): Route {
  const [what, name, more] = parts;
  if (what === undefined) return { page: "runs", entity, project };
  if (more !== undefined) return { page: "missing" };
  if (what === "runs" && name !== undefined) return { page: "run", entity, project, run: name };
  if (what === "sweeps" && name !== undefined)
    return { page: "sweep", entity, project, sweep: name };
  if (what === "reports" && name !== undefined)
    return { page: "report", entity, project, report: name };
  if (name !== undefined) return { page: "missing" };
  if (what === "reports" || what === "sweeps") return { page: what, entity, project };
  return what === "settings" ? { page: "project", entity, project } : { page: "missing" };
}

/** The address of a page; without parts, of all projects. */
export function href(...parts: string[]): string {
  return at("/" + parts.map(encodeURIComponent).join("/"));
}

function here(): string {
  return local(location.pathname) ?? location.pathname;
}

class Router {
  path = $state(here());
  /** Grows whenever a page is gone to, so that the same one with another query starts afresh. */
  visit = $state(0);
  readonly route = $derived(parse(this.path));

  constructor() {
    addEventListener("popstate", () => this.#arrive());
    document.addEventListener("click", (event) => this.#follow(event));
  }

  go(url: string): void {
    history.pushState(null, "", url);
    this.#arrive();
    scrollTo(0, 0);
  }

  #arrive(): void {
    this.path = here();
    this.visit += 1;
  }

  /** Writes the query of the current page without a new history entry. */
  setQuery(query: URLSearchParams): void {
    const text = query.toString();
    const url = location.pathname + (text === "" ? "" : `?${text}`);
    if (url !== location.pathname + location.search) history.replaceState(null, "", url);
  }

  #follow(event: MouseEvent): void {
    const modified = event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
    if (event.defaultPrevented || event.button !== 0 || modified) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (link === null || link.target !== "" || link.origin !== location.origin) return;
    const own = local(link.pathname);
    if (own === null || own.startsWith("/files/") || link.hasAttribute("download")) return;
    if (link.hash !== "" && link.pathname === location.pathname) return;
    event.preventDefault();
    this.go(link.pathname + link.search);
  }
}

export const router = new Router();
