// What a run has beside its rows: its files, its console, its system metrics; and what can be
// done to it. GraphQL answers these; ids are opaque, so they are asked for and never made here.

import { graphql, type ProjectPath, type RunPath } from "./api";
import { at } from "./base";
import type { Answer } from "./pages.svelte";
import type * as Schema from "./schema";

export type Alert = Pick<Schema.RunAlert, "id" | "title" | "text" | "level" | "createdAt">;

/** `stopped`: somebody asked it to stop. */
export interface RunDetails
  extends Pick<Schema.Run, "id" | "stopped" | "fileCount" | "logLineCount"> {
  user: Pick<Schema.User, "username"> | null;
  /** What its code raised the alarm about, the newest first. */
  alerts: Alert[];
}

export type RunFile = Pick<Schema.File, "name" | "sizeBytes" | "mimetype" | "updatedAt">;

export type LogLine = Pick<Schema.LogLine, "number" | "timestamp" | "level" | "line">;

interface OfRun<T> {
  project: { run: T | null } | null;
}

async function ofRun<T>(
  path: RunPath,
  parameters: string,
  fields: string,
  variables: Record<string, unknown> = {},
): Promise<T | null> {
  const query = `query Run($entity: String!, $project: String!, $run: String!${parameters}) {
    project(name: $project, entityName: $entity) { run(name: $run) { ${fields} } }
  }`;
  const { project } = await graphql<OfRun<T>>(query, { ...path, ...variables });
  return project?.run ?? null;
}

const DETAILS = `id stopped user { username } fileCount logLineCount
  alerts(first: 50) { id title text level createdAt }`;

export function runDetails(path: RunPath): Promise<RunDetails | null> {
  return ofRun<RunDetails>(path, "", DETAILS);
}

export async function stopRun(id: string): Promise<void> {
  const query = "mutation Stop($id: ID!) { stopRun(input: { id: $id }) { success } }";
  await graphql<unknown>(query, { id });
}

export async function deleteRun(path: RunPath): Promise<void> {
  const found = await ofRun<Pick<Schema.Run, "id">>(path, "", "id");
  if (found === null) return;
  const query = "mutation Delete($id: ID!) { deleteRun(input: { id: $id }) { success } }";
  await graphql<unknown>(query, { id: found.id });
}

interface Connection<T> {
  edges: { node: T; cursor: string }[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

/** One page of a run's files by name, and where the next begins. */
export async function runFiles(
  path: RunPath,
  after: string | null,
): Promise<Answer<RunFile>> {
  const fields = `files(first: 200, after: $after) {
    edges { node { name sizeBytes mimetype updatedAt } cursor } pageInfo { hasNextPage endCursor }
  }`;
  const variables = { after };
  const found = await ofRun<{ files: Connection<RunFile> }>(
    path,
    ", $after: String",
    fields,
    variables,
  );
  const { edges = [], pageInfo } = found?.files ?? {};
  return {
    rows: edges.map(({ node }) => node),
    next: pageInfo?.hasNextPage ? pageInfo.endCursor : null,
  };
}

/** Where a file's bytes are, for this browser's session. */
export function fileUrl({ entity, project, run }: RunPath, name: string): string {
  const parts = [entity, project, run, ...name.split("/")];
  return at(`/files/${parts.map(encodeURIComponent).join("/")}`);
}

/** The last `count` lines of the console, ascending. */
export async function lastLines(path: RunPath, count: number): Promise<LogLine[]> {
  const fields = "logLines(last: $count) { edges { node { number timestamp level line } } }";
  const found = await ofRun<{ logLines: Connection<LogLine> }>(path, ", $count: Int", fields, {
    count,
  });
  return found?.logLines.edges.map(({ node }) => node) ?? [];
}

/** Rows of system metrics, thinned out evenly to at most `samples`. */
export async function systemRows(
  path: RunPath,
  samples: number,
): Promise<Record<string, unknown>[]> {
  const found = await ofRun<Pick<Schema.Run, "events">>(
    path,
    ", $samples: Int",
    "events(samples: $samples)",
    { samples },
  );
  return (found?.events ?? []).map(parsed).filter((row) => row !== null);
}

function parsed(text: string): Record<string, unknown> | null {
  try {
    // A row may hold bare NaN or Infinity, which JSON lacks: such a value is no point of a chart.
    const strict = text.replace(/([:,[]\s*)-?(?:NaN|Infinity)(?=\s*[,}\]])/g, "$1null");
    const row: unknown = JSON.parse(strict);
    return typeof row === "object" && row !== null ? (row as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Configs of some runs of a project, by run. */
export async function configsOf(
  path: ProjectPath,
  runs: readonly string[],
): Promise<Map<string, Record<string, unknown>>> {
  const query = `query Configs($entity: String!, $project: String!, $filters: JSONString!, $first: Int!) {
    project(name: $project, entityName: $entity) {
      runs(filters: $filters, first: $first) { edges { node { name config } } }
    }
  }`;
  const filters = JSON.stringify({ name: { $in: runs } });
  interface Answer {
    project: { runs: Connection<Pick<Schema.Run, "name" | "config">> } | null;
  }
  const first = Math.max(1, runs.length);
  const { project } = await graphql<Answer>(query, { ...path, filters, first });
  const edges = project?.runs.edges ?? [];
  return new Map(
    edges.map(({ node }) => [node.name, unwrapped(parsed(node.config ?? "{}") ?? {})]),
  );
}

/** W&B's {"lr": {"value": 0.1}} as {"lr": 0.1}. */
function unwrapped(config: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(config)
      .filter(([key]) => key !== "_wandb")
      .map(([key, entry]) => [key, (entry as { value?: unknown } | null)?.value ?? null]),
  );
}
