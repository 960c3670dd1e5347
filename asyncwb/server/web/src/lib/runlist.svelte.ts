// A project's runs as its list shows them: which, in what order, with which columns. All of that
// lives in the URL's query. Pages that are loaded: the first is asked for again and again, the
// rest on demand.

import { apiPath, explain, get, type ProjectPath } from "./api";
import { conditionText, mongoField, parseCondition, toMongo, type Condition } from "./conditions";
import { configsOf } from "./details";
import { display } from "./keys";
import { leaves } from "./leaves";
import type { RunRow } from "./wire";

const PAGE = 100;
const CONFIG_AGE = 15_000;
const CONFIGS_AT_ONCE = 500;

interface Page {
  runs: RunRow[];
  next: string | null;
}

interface Config {
  at: number;
  values: Map<string, unknown>;
}

export class RunList {
  search = $state("");
  only = $state("");
  conditions = $state.raw<readonly Condition[]>([]);
  /** As the server takes it, `-created_at`; "" is its default, the newest first. */
  order = $state("");
  /** The columns where nobody chose any; these do not stand in the URL. */
  usual = $state.raw<readonly string[]>([]);
  #chosen = $state.raw<readonly string[] | null>(null);
  first = $state.raw<RunRow[] | null>(null);
  next = $state<string | null>(null);
  /** Why the list could not be read. */
  trouble = $state<string | null>(null);
  /** Why something that was asked for was not done; the next reading of the list leaves it. */
  refused = $state<string | null>(null);
  #older = $state.raw<RunRow[]>([]);
  #configs = $state.raw(new Map<string, Config>());
  /** Whether the columns that there could be are looked at, for which configs are needed. */
  choosing = $state(false);

  /** `config.lr`, `summary.loss`. */
  get columns(): readonly string[] {
    return this.#chosen ?? this.usual;
  }
  set columns(columns: readonly string[]) {
    this.#chosen = columns;
  }

  readonly runs = $derived.by(() => {
    const fresh = new Set((this.first ?? []).map((run) => run.id));
    return [...(this.first ?? []), ...this.#older.filter((run) => !fresh.has(run.id))];
  });
  readonly summaries = $derived(
    new Map(
      this.columns.length > 0 || this.choosing
        ? this.runs.map((run) => [run.id, flat(run.summary, display)])
        : [],
    ),
  );
  readonly filtered = $derived(
    this.search !== "" || this.only !== "" || this.conditions.length > 0,
  );

  /** `always`: conditions that hold whatever is typed, and do not stand in the URL. */
  constructor(
    readonly path: ProjectPath,
    query: URLSearchParams,
    readonly always: readonly Condition[] = [],
  ) {
    this.search = query.get("q") ?? "";
    this.only = query.get("state") ?? "";
    this.order = query.get("order") ?? "";
    const columns = query.getAll("column");
    if (columns.length > 0)
      this.#chosen = columns.filter((name) => /^(config|summary)\../.test(name));
    this.conditions = query.getAll("where").flatMap((text) => {
      try {
        return [parseCondition(text)];
      } catch (error) {
        this.refused = (error as Error).message;
        return [];
      }
    });
  }

  query(): URLSearchParams {
    const query = new URLSearchParams();
    if (this.search !== "") query.set("q", this.search);
    if (this.only !== "") query.set("state", this.only);
    for (const condition of this.conditions) query.append("where", conditionText(condition));
    if (this.order !== "") query.set("order", this.order);
    for (const column of this.#chosen ?? []) query.append("column", column);
    if (this.#chosen?.length === 0 && this.usual.length > 0) query.append("column", "");
    return query;
  }

  /** What the list is of: another question has other pages. */
  readonly question = $derived.by((): [string, string | number][] => {
    const params: [string, string | number][] = [["limit", PAGE]];
    if (this.search.trim() !== "") params.push(["q", this.search.trim()]);
    if (this.only !== "") params.push(["state", this.only]);
    const conditions = [...this.always, ...this.conditions];
    if (conditions.length > 0) params.push(["filters", JSON.stringify(toMongo(conditions))]);
    if (this.order !== "") params.push(["order", this.order]);
    return params;
  });

  forgetOlder(): void {
    this.#older = [];
  }

  async refresh(): Promise<void> {
    const asked = this.question;
    try {
      const answer = await this.#page(null);
      if (asked !== this.question) return;
      this.first = answer.runs;
      if (this.#older.length === 0) this.next = answer.next;
      this.trouble = null;
      await this.#loadConfigs();
    } catch (error) {
      if (asked === this.question) this.trouble = explain(error);
    }
  }

  async more(): Promise<void> {
    try {
      const answer = await this.#page(this.next);
      this.#older = [...this.#older, ...answer.runs];
      this.next = answer.next;
      await this.#loadConfigs();
    } catch (error) {
      this.trouble = explain(error);
    }
  }

  #page(cursor: string | null): Promise<Page> {
    const { entity, project } = this.path;
    const params: [string, string | number][] = [...this.question];
    if (cursor !== null) params.push(["cursor", cursor]);
    return get<Page>(apiPath("projects", entity, project, "runs"), params);
  }

  forget(id: string): void {
    this.first = this.first?.filter((run) => run.id !== id) ?? null;
    this.#older = this.#older.filter((run) => run.id !== id);
  }

  value(run: RunRow, column: string): unknown {
    const [space, key] = split(column);
    if (space === "config") return this.#configs.get(run.id)?.values.get(key);
    return this.summaries.get(run.id)?.get(key);
  }

  /** The columns that the shown runs have values for. */
  known(): string[] {
    const found = new Set<string>();
    for (const run of this.runs) {
      for (const key of this.#configs.get(run.id)?.values.keys() ?? []) found.add(`config.${key}`);
      for (const key of this.summaries.get(run.id)?.keys() ?? [])
        if (!key.startsWith("_")) found.add(`summary.${key}`);
    }
    return [...found].sort();
  }

  async choose(): Promise<void> {
    this.choosing = true;
    try {
      await this.#loadConfigs();
    } catch (error) {
      this.trouble = explain(error);
    }
  }

  /** The list leaves configs out: they are asked for where a column shows one. */
  async #loadConfigs(): Promise<void> {
    const wanted = this.choosing || this.columns.some((column) => column.startsWith("config."));
    if (!wanted) return;
    const now = Date.now();
    const old = this.runs.filter((run) => {
      const held = this.#configs.get(run.id);
      return !held || (run.state === "running" && held.at < now - CONFIG_AGE);
    });
    if (old.length === 0) return;
    const fresh = new Map(this.#configs);
    for (let i = 0; i < old.length; i += CONFIGS_AT_ONCE) {
      const ids = old.slice(i, i + CONFIGS_AT_ONCE).map((run) => run.id);
      const found = await configsOf(this.path, ids);
      for (const id of ids) fresh.set(id, { at: now, values: flat(found.get(id) ?? {}) });
    }
    this.#configs = fresh;
  }
}

function flat(
  values: Record<string, unknown>,
  nameOf?: (key: string) => string,
): Map<string, unknown> {
  return new Map(leaves(values, nameOf).map(({ name, value }) => [name, value]));
}

function split(column: string): [string, string] {
  const dot = column.indexOf(".");
  return [column.slice(0, dot), column.slice(dot + 1)];
}

/** The server's word for a column of ours: `summary.loss` is `summary_metrics.loss`. */
export function orderField(column: string): string {
  return mongoField(column);
}
