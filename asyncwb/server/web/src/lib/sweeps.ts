// A project's sweeps on the server: list and read.

import { ApiError, graphql, type ProjectPath } from "./api";
import type { Answer } from "./pages.svelte";

export type SweepState = "PENDING" | "RUNNING" | "PAUSED" | "FINISHED" | "CANCELED";

export interface SweepRow {
  name: string;
  title: string;
  state: SweepState;
  method: string;
  bestLoss: number | null;
  runCount: number;
  runCountExpected: number | null;
  createdAt: string;
  heartbeatAt: string | null;
  user: { username: string } | null;
}

export interface Sweep extends SweepRow {
  description: string | null;
  /** YAML. */
  config: string;
}

const FIELDS =
  "name title state method bestLoss runCount runCountExpected createdAt heartbeatAt user { username }";

export async function listSweeps(
  path: ProjectPath,
  after: string | null,
): Promise<Answer<SweepRow>> {
  const query = `query Sweeps($entity: String!, $project: String!, $after: String) {
    project(name: $project, entityName: $entity) {
      sweeps(first: 100, after: $after) {
        edges { node { ${FIELDS} } } pageInfo { hasNextPage endCursor }
      }
    }
  }`;
  interface Found {
    project: {
      sweeps: {
        edges: { node: SweepRow }[];
        pageInfo: { hasNextPage: boolean; endCursor: string | null };
      };
    } | null;
  }
  const { project } = await graphql<Found>(query, { ...path, after });
  if (project === null) throw gone("project");
  const { edges, pageInfo } = project.sweeps;
  const next = pageInfo.hasNextPage ? pageInfo.endCursor : null;
  return { rows: edges.map(({ node }) => node), next };
}

export async function readSweep({ entity, project }: ProjectPath, name: string): Promise<Sweep> {
  const query = `query Sweep($entity: String!, $project: String!, $name: String!) {
    project(name: $project, entityName: $entity) {
      sweep(sweepName: $name) { ${FIELDS} description config }
    }
  }`;
  const answer = await graphql<{ project: { sweep: Sweep | null } | null }>(query, {
    entity,
    project,
    name,
  });
  if (!answer.project?.sweep) throw gone("sweep");
  return answer.project.sweep;
}

/**
 * What a sweep is about, read from its YAML where that is written one key a line, as W&B's client
 * sends it: the metric, and the parameters that are varied. What it cannot read it leaves out.
 */
export function subjectOf(config: string): { metric: string | null; parameters: string[] } {
  const inLine = /^metric:\s*\{(?:.*,)?\s*name:\s*("[^"]*"|[^,}]+)/m.exec(config)?.[1];
  const metric = inLine ?? below(config, "metric").find(({ key }) => key === "name")?.value;
  const parameters = below(config, "parameters").filter(
    ({ value, inner }) => value.startsWith("{") || !/^value\s*:/.test(inner),
  );
  return { metric: metric ? bare(metric) : null, parameters: parameters.map(({ key }) => key) };
}

interface Entry {
  key: string;
  /** What stands behind the key, in its line. */
  value: string;
  /** The first line below it. */
  inner: string;
}

/** The entries of a mapping that is the value of a key at the margin. */
function below(yaml: string, name: string): Entry[] {
  const lines = yaml.split("\n").filter((line) => !/^\s*(#|$)/.test(line));
  const start = lines.findIndex((line) => line.startsWith(`${name}:`)) + 1;
  if (start === 0) return [];
  const length = lines.slice(start).findIndex((line) => /^\S/.test(line));
  const block = lines.slice(start, length < 0 ? undefined : start + length);
  const indent = /^ */.exec(block[0] ?? "")?.[0] ?? "";
  return block.flatMap((line, i) => {
    const found = /^("[^"]*"|'[^']*'|[^\s"'-].*?)\s*:(?:\s+(.*))?$/.exec(line.slice(indent.length));
    if (!line.startsWith(indent) || !found) return [];
    return [{ key: bare(found[1] ?? ""), value: found[2] ?? "", inner: (block[i + 1] ?? "").trim() }];
  });
}

function bare(text: string): string {
  return text.trim().replace(/^(["'])(.*)\1$/, "$2");
}

/** "3 of 12", or "3" where there is no end to them. */
export function runsOf({ runCount, runCountExpected }: SweepRow): string {
  return runCountExpected === null ? String(runCount) : `${runCount} of ${runCountExpected}`;
}

function gone(what: string): ApiError {
  const message = `There is no such ${what}, or it is not yours to see.`;
  return new ApiError(404, `${what}_not_found`, message);
}
