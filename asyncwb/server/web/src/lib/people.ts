// Users, keys, teams and invitations: the server's routes of people.

import { apiPath, get, patch, post, remove } from "./api";
import type {
  Account,
  Invitation,
  Joined,
  Key,
  Member,
  NewKey,
  Offer,
  Role,
  Team,
  User,
} from "./wire";

export const ROLES: readonly Role[] = ["viewer", "member", "admin"];

export interface Invited {
  team: string | null;
  email: string | null;
  role: Role;
}

export const listKeys = async (): Promise<Key[]> =>
  (await get<{ keys: Key[] }>(apiPath("keys"))).keys;
export const createKey = (description: string): Promise<NewKey> =>
  post(apiPath("keys"), { description: description || null });
export const revokeKey = (id: number): Promise<void> => remove(apiPath("keys", String(id)));

export const listTeams = async (): Promise<Team[]> =>
  (await get<{ teams: Team[] }>(apiPath("teams"))).teams;
export const createTeam = (name: string): Promise<unknown> => post(apiPath("teams"), { name });
export const listMembers = async (team: string): Promise<Member[]> =>
  (await get<{ members: Member[] }>(apiPath("teams", team, "members"))).members;
export const addMember = (team: string, user: string, role: Role): Promise<unknown> =>
  post(apiPath("teams", team, "members"), { user, role });
export const setRole = (team: string, user: string, role: Role): Promise<unknown> =>
  patch(apiPath("teams", team, "members", user), { role });
export const removeMember = (team: string, user: string): Promise<void> =>
  remove(apiPath("teams", team, "members", user));
export const createServiceAccount = (
  team: string,
  name: string,
  description: string,
): Promise<Account> =>
  post(apiPath("teams", team, "service-accounts"), {
    name: name || null,
    description: description || null,
  });

export const listUsers = (
  search: string,
  cursor: string | null,
): Promise<{ users: User[]; next: string | null }> => {
  const params: [string, string][] = [["limit", "100"]];
  if (search !== "") params.push(["q", search]);
  if (cursor !== null) params.push(["cursor", cursor]);
  return get(apiPath("users"), params);
};
export const changeUser = (
  name: string,
  change: { admin?: boolean; disabled?: boolean; email?: string },
): Promise<unknown> => patch(apiPath("users", name), change);

/** Of a team; null: those to the server alone. */
export const listInvitations = async (team: string | null): Promise<Invitation[]> => {
  const params: [string, string][] = team === null ? [] : [["team", team]];
  return (await get<{ invitations: Invitation[] }>(apiPath("invitations"), params)).invitations;
};
export const invite = (invited: Invited): Promise<{ url: string }> =>
  post(apiPath("invitations"), invited);
export const renewInvitation = (id: number): Promise<{ url: string }> =>
  post(apiPath("invitations", String(id), "link"), {});
export const withdrawInvitation = (id: number): Promise<void> =>
  remove(apiPath("invitations", String(id)));

export const showInvitation = (token: string): Promise<Offer> =>
  post(apiPath("invitations", "show"), { token });
export const acceptInvitation = (
  token: string,
  name: string,
  email: string,
): Promise<Account> =>
  post(apiPath("invitations", "accept"), { token, name, ...(email ? { email } : {}) });
export const joinTeam = (token: string): Promise<Joined> =>
  post(apiPath("invitations", "join"), { token });
