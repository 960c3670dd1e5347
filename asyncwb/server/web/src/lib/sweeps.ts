// A project's sweeps on the server: list and read.

import { ApiError, graphql, type ProjectPath } from "./api";
import type { Answer } from "./pages.svelte";
import type * as Schema from "./schema";

export type SweepState = "PENDING" | "RUNNING" | "PAUSED" | "FINISHED" | "CANCELED";

export interface SweepRow
  extends Pick<
    Schema.Sweep,
    | "name"
    | "title"
    | "method"
    | "bestLoss"
    | "runCount"
    | "runCountExpected"
    | "createdAt"
    | "heartbeatAt"
  > {
  state: SweepState;
  user: Pick<Schema.User, "username"> | null;
}

/** `config` is YAML; `varied` are the parameters with more than one choice. */
export type Sweep = SweepRow & Pick<Schema.Sweep, "description" | "config" | "metric" | "varied">;

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
      sweep(sweepName: $name) { ${FIELDS} description config metric varied }
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

/** "3 of 12", or "3" where there is no end to them. */
export function runsOf({ runCount, runCountExpected }: SweepRow): string {
  return runCountExpected === null ? String(runCount) : `${runCount} of ${runCountExpected}`;
}

function gone(what: string): ApiError {
  const message = `There is no such ${what}, or it is not yours to see.`;
  return new ApiError(404, `${what}_not_found`, message);
}
