// The server's HTTP API as the page sees it: one way to ask, one kind of error. What is answered
// has its types in wire.ts.

import { at } from "./base";
import type { Cut, LiveState, RunState } from "./wire";

/** In the order in which the page offers them. */
const STATES: Record<RunState, true> = {
  running: true,
  finished: true,
  failed: true,
  crashed: true,
  killed: true,
  preempting: true,
  preempted: true,
  pending: true,
};
export const RUN_STATES = Object.keys(STATES) as RunState[];
export type XKey = "_step" | "_timestamp" | "_runtime";

/** Whose project it is and its name: what the addresses of its pages begin with. */
export interface ProjectPath {
  entity: string;
  project: string;
}

export function isCut(value: unknown): value is Cut {
  if (typeof value !== "object" || value === null) return false;
  const { _type: kind, bytes, start } = value as Partial<Record<keyof Cut, unknown>>;
  return kind === "cut" && typeof bytes === "number" && typeof start === "string";
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
