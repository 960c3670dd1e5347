// Where the page is: the path as a typed route, kept in step with the browser's history.

export type Route =
  | { page: "projects"; entity: string | null }
  | { page: "runs"; entity: string; project: string }
  | { page: "run"; entity: string; project: string; run: string }
  | { page: "login" }
  | { page: "missing" };

export function parse(path: string): Route {
  let parts: string[];
  try {
    parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return { page: "missing" };
  }
  const [entity, project, runs, run] = parts;
  if (entity === undefined) return { page: "projects", entity: null };
  if (entity === "login" && parts.length === 1) return { page: "login" };
  if (project === undefined) return { page: "projects", entity };
  if (runs === undefined) return { page: "runs", entity, project };
  if (runs === "runs" && run !== undefined && parts.length === 4)
    return { page: "run", entity, project, run };
  return { page: "missing" };
}

export function href(...parts: string[]): string {
  return "/" + parts.map(encodeURIComponent).join("/");
}

class Router {
  path = $state(location.pathname);
  readonly route = $derived(parse(this.path));

  constructor() {
    addEventListener("popstate", () => (this.path = location.pathname));
    document.addEventListener("click", (event) => this.#follow(event));
  }

  go(url: string): void {
    history.pushState(null, "", url);
    this.path = location.pathname;
    scrollTo(0, 0);
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
    event.preventDefault();
    this.go(link.pathname + link.search);
  }
}

export const router = new Router();
