// The server's HTTP API as the page sees it: types, one way to ask, one kind of error.

import { at } from "./base";

export const RUN_STATES = [
  "running",
  "finished",
  "failed",
  "crashed",
  "killed",
  "preempting",
  "preempted",
  "pending",
] as const;
export type RunState = (typeof RUN_STATES)[number];
export type Role = "admin" | "member" | "viewer";
export type XKey = "_step" | "_timestamp" | "_runtime";
/** A finite number, or "NaN", "Infinity", "-Infinity"; null where a bucket has no such value. */
export type WireNumber = number | string | null;

export interface Viewer {
  username: string;
  entity: string;
  /** Of the server. */
  admin: boolean;
  email: string | null;
  teams: Record<string, Role>;
}

/** Whose project it is and its name: what the addresses of its pages begin with. */
export interface ProjectPath {
  entity: string;
  project: string;
}

export interface Project {
  entity: string;
  name: string;
  visibility: "private" | "public";
  description: string | null;
  runs: number;
  running: number;
  updated_at: number | null;
}

/** A run without what may be large. */
export interface RunFigures {
  entity: string;
  project: string;
  id: string;
  name: string | null;
  state: RunState;
  created_at: number;
  started_at: number | null;
  heartbeat_at: number | null;
  finished_at: number | null;
  exit_code: number | null;
  rows: number;
  last_step: number | null;
  lost: number;
  tags: string[] | null;
  notes: string | null;
  group: string | null;
  job_type: string | null;
  host: string | null;
  program: string | null;
  version: number;
  /** Parts that are damaged in the server's store, and empty here; of those that were asked for. */
  damaged: ("summary" | "config" | "fold")[];
}

export interface RunRow extends RunFigures {
  summary: Record<string, unknown>;
}

export interface RunInfo extends RunRow {
  config: Record<string, unknown>;
}

/** What stands for a long text or list in lists, events and short answers. */
export interface Cut {
  _type: "cut";
  bytes: number;
  start: string;
}

export function isCut(value: unknown): value is Cut {
  if (typeof value !== "object" || value === null) return false;
  const { _type: kind, bytes, start } = value as Partial<Record<keyof Cut, unknown>>;
  return kind === "cut" && typeof bytes === "number" && typeof start === "string";
}

/** What the live stream says after each committed ingest: the keys of the summary that changed. */
export interface LiveState {
  version: number;
  state: RunState;
  rows: number;
  last_step: number | null;
  heartbeat_at: number | null;
  summary: Record<string, unknown>;
  lost: number;
  /** The first event of a connection: all of the summary, where it was asked for. */
  whole: boolean;
  /** Keys that the summary has no more. */
  removed: string[];
  /** More has changed than fits an event. */
  more: boolean;
}

/**
 * The summary after an event.
 *
 * `keep`: a value that is there whole stays until it is asked for again, rather than being cut.
 */
export function mergedSummary(
  before: Record<string, unknown>,
  state: LiveState,
  keep = false,
): Record<string, unknown> {
  const summary = { ...(state.whole && !state.more ? {} : before) };
  for (const [key, value] of Object.entries(state.summary)) {
    summary[key] = keep && isCut(value) && key in before ? before[key] : value;
  }
  for (const key of state.removed) delete summary[key];
  return summary;
}

export interface WireSeries {
  key: string;
  exact: boolean;
  rows: number;
  x: WireNumber[];
  min: WireNumber[];
  max: WireNumber[];
  mean: WireNumber[];
  last: WireNumber[];
  count: number[];
  /** How many of each bucket's values were numbers; left out by servers that do not say. */
  valid?: number[];
  /** What is left out because it is damaged in the server's store. */
  missing?: WireMissing[];
}

export interface WireMissing {
  place: string;
  first_step: number;
  last_step: number;
  rows: number;
  why: string;
}

export interface RunPath extends ProjectPath {
  run: string;
}

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Called whenever the server no longer accepts this browser's session. */
let signedOut: () => void = () => undefined;
export function onSignedOut(callback: () => void): void {
  signedOut = callback;
}

export function apiPath(...parts: string[]): string {
  return [at("/api/v1"), ...parts.map(encodeURIComponent)].join("/");
}

export function runPath(run: RunPath, ...rest: string[]): string {
  return apiPath("runs", run.entity, run.project, run.run, ...rest);
}

type Params = [string, string | number][];

export async function get<T>(path: string, params: Params = [], signal?: AbortSignal): Promise<T> {
  const query = new URLSearchParams(params.map(([k, v]) => [k, String(v)]));
  const url = params.length > 0 ? `${path}?${query}` : path;
  return ask<T>(url, signal ? { signal } : {});
}

export function post<T>(path: string, body: unknown): Promise<T> {
  return send<T>("POST", path, body);
}

export function patch<T>(path: string, body: unknown): Promise<T> {
  return send<T>("PATCH", path, body);
}

export async function remove(path: string): Promise<void> {
  await ask<unknown>(path, { method: "DELETE" });
}

/** Asks in GraphQL, where the native API has no route for it. Throws the first of its errors. */
export async function graphql<T>(query: string, variables: Record<string, unknown>): Promise<T> {
  interface Answer {
    data: T | null;
    errors?: { message: string; extensions?: { code?: string } }[];
  }
  const answer = await send<Answer>("POST", at("/graphql"), { query, variables });
  const error = answer.errors?.[0];
  if (error) throw new ApiError(200, error.extensions?.code ?? "unknown", error.message);
  return answer.data as T;
}

function send<T>(method: string, path: string, body: unknown): Promise<T> {
  const headers = { "Content-Type": "application/json" };
  return ask<T>(path, { method, headers, body: JSON.stringify(body) });
}

async function ask<T>(url: string, init: RequestInit): Promise<T> {
  const response = await fetch(url, { credentials: "same-origin", ...init });
  if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;
  const error = await readError(response);
  if (response.status === 401) signedOut();
  throw error;
}

export async function readError(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string } };
    return new ApiError(response.status, error.code, error.message);
  } catch {
    const message = `The server answered ${response.status} ${response.statusText}.`;
    return new ApiError(response.status, "unknown", message);
  }
}

/** What to tell a person about anything that went wrong while asking the server. */
export function explain(error: unknown): string {
  if (error instanceof ApiError) return error.message;
  return "The server cannot be reached. Nothing is lost; try again in a moment.";
}
