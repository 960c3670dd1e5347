// A project's reports on the server: list, read, write, delete.

import { ApiError, graphql, type ProjectPath } from "./api";
import type { Answer } from "./pages.svelte";
import type { Spec } from "./report";
import type * as Schema from "./schema";

export interface ReportRow
  extends Pick<
    Schema.View,
    "id" | "name" | "displayName" | "description" | "createdAt" | "updatedAt"
  > {
  user: Pick<Schema.User, "username"> | null;
}

export interface StoredReport extends ReportRow {
  spec: Spec;
}

export interface ReportText {
  displayName: string;
  description: string;
  spec: Spec;
}

const FIELDS = "id name displayName description user { username } createdAt updatedAt";

export async function listReports(
  path: ProjectPath,
  after: string | null,
): Promise<Answer<ReportRow>> {
  const query = `query Reports($entity: String!, $project: String!, $after: String) {
    project(name: $project, entityName: $entity) {
      allViews(viewType: "runs", first: 100, after: $after) {
        edges { node { ${FIELDS} } } pageInfo { hasNextPage endCursor }
      }
    }
  }`;
  interface Found {
    project: {
      allViews: {
        edges: { node: ReportRow }[];
        pageInfo: { hasNextPage: boolean; endCursor: string | null };
      };
    } | null;
  }
  const { project } = await graphql<Found>(query, { ...path, after });
  if (project === null) throw gone("project");
  const { edges, pageInfo } = project.allViews;
  const next = pageInfo.hasNextPage ? pageInfo.endCursor : null;
  return { rows: edges.map(({ node }) => node), next };
}

/** The last part of a report's address: its title, for people, and its id. */
export function slugOf({ id, displayName }: Pick<ReportRow, "id" | "displayName">): string {
  const title = (displayName ?? "").replace(/[^\p{L}\p{N}_]+/gu, "-").replace(/^-|-$/g, "");
  return `${title}--${id.replace(/=+$/, "")}`;
}

/** The id in an address, whatever stands before it. */
export function idOf(slug: string): string {
  const bare = slug.slice(slug.lastIndexOf("--") + (slug.includes("--") ? 2 : 0));
  return bare + "=".repeat((4 - (bare.length % 4)) % 4);
}

export async function readReport(id: string): Promise<StoredReport> {
  const query = `query Report($id: ID!) { view(id: $id) { ${FIELDS} spec } }`;
  const { view } = await graphql<{ view: (ReportRow & Pick<Schema.View, "spec">) | null }>(query, {
    id,
  }).catch((error: unknown) => {
    // An address that somebody typed or cut short: what it names is no id at all.
    if (error instanceof ApiError && error.code === "bad_id") return { view: null };
    throw error;
  });
  if (view === null) throw gone("report");
  return { ...view, spec: JSON.parse(view.spec) as Spec };
}

/** Makes a report, or changes the one of that id. Returns its id and title. */
export async function writeReport(
  path: ProjectPath,
  id: string | null,
  { displayName, description, spec }: ReportText,
): Promise<Pick<ReportRow, "id" | "displayName">> {
  const query = `mutation Report($input: UpsertViewInput!) {
    upsertView(input: $input) { view { id displayName } }
  }`;
  const text = { displayName, description, spec: JSON.stringify(spec) };
  const place = { entityName: path.entity, projectName: path.project, type: "runs" };
  const input = id === null ? { ...place, ...text } : { id, ...text };
  interface Kept {
    upsertView: { view: Pick<ReportRow, "id" | "displayName"> | null } | null;
  }
  const { upsertView } = await graphql<Kept>(query, { input });
  if (!upsertView?.view) throw gone("report");
  return upsertView.view;
}

export async function deleteReport(id: string): Promise<void> {
  const query = "mutation Report($id: ID!) { deleteView(input: { id: $id }) { success } }";
  await graphql<unknown>(query, { id });
}

function gone(what: string): ApiError {
  const message = `There is no such ${what}, or it is not yours to see.`;
  return new ApiError(404, `${what}_not_found`, message);
}
