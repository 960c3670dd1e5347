// Who is looking: the signed-in viewer, or nobody. A 401 on any request ends the session here.

import { ApiError, apiPath, explain, get, onSignedOut, post } from "./api";
import type { Viewer } from "./wire";

class Session {
  viewer = $state.raw<Viewer | null>(null);
  /** False until the server has said who we are, or that we are nobody. */
  known = $state(false);
  trouble = $state<string | null>(null);

  constructor() {
    onSignedOut(() => (this.viewer = null));
  }

  async check(): Promise<void> {
    try {
      this.viewer = await get<Viewer>(apiPath("viewer"));
      this.trouble = null;
    } catch (error) {
      const nobody = error instanceof ApiError && error.status === 401;
      this.trouble = nobody ? null : explain(error);
      if (!nobody) setTimeout(() => void this.check(), 2000);
    }
    this.known = this.trouble === null;
  }

  async signIn(by: { key: string } | { token: string }): Promise<void> {
    await post<unknown>(apiPath("login"), by);
    await this.check();
  }

  /** Says whose account a sign-in link opens; it stays good. */
  async linkOf(token: string): Promise<string> {
    const path = apiPath("login", "links", "show");
    return (await post<{ username: string }>(path, { token })).username;
  }

  async signOut(): Promise<void> {
    await post<unknown>(apiPath("logout"), {});
    this.viewer = null;
  }
}

export const session = new Session();
