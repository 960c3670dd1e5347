// What the viewer may do, so that the page shows nothing that the server would refuse. The server
// decides; this only repeats its table.

import type { Role, Viewer } from "./wire";

export type Action = "read" | "write" | "manage";

const ALLOWED: Record<Role, readonly Action[]> = {
  viewer: ["read"],
  member: ["read", "write"],
  admin: ["read", "write", "manage"],
};

export function may(viewer: Viewer | null, action: Action, entity: string): boolean {
  if (viewer === null) return false;
  if (viewer.admin || entity === viewer.entity) return true;
  const role = viewer.teams[entity];
  return role !== undefined && ALLOWED[role].includes(action);
}
