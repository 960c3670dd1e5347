// Who is looking: the signed-in viewer, or nobody. A 401 on any request ends the session here.

import { ApiError, apiPath, explain, get, onSignedOut, post, type Viewer } from "./api";

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

  async signIn(key: string): Promise<void> {
    await post<unknown>(apiPath("login"), { key });
    await this.check();
  }

  async signOut(): Promise<void> {
    await post<unknown>(apiPath("logout"), {});
    this.viewer = null;
  }
}

export const session = new Session();
