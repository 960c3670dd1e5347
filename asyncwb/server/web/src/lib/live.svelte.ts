// The live stream of one run (server-sent events). It lets go of its connection while the tab is
// hidden (a browser has few for one host) and comes back by itself after any loss.

import { runPath, type RunPath } from "./api";
import type { LiveState } from "./wire";

const FIRST_RETRY = 500;
const LONGEST_RETRY = 10_000;

export class LiveStream {
  connected = $state(false);
  #source: EventSource | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #delay = FIRST_RETRY;

  constructor(
    readonly run: RunPath,
    /** Whether to be told the summary, too. */
    readonly summary: boolean,
    readonly onState: (state: LiveState) => void,
    /** Asked when the server refused the stream, where a session may have ended. */
    readonly onRefused: () => void,
  ) {
    document.addEventListener("visibilitychange", this.#visibility);
    this.#visibility();
  }

  close(): void {
    document.removeEventListener("visibilitychange", this.#visibility);
    this.#drop();
  }

  #visibility = (): void => {
    if (document.hidden) this.#drop();
    else if (this.#source === null) this.#open();
  };

  #open(): void {
    clearTimeout(this.#timer);
    const source = new EventSource(
      runPath(this.run, "live") + (this.summary ? "" : "?values=none"),
    );
    this.#source = source;
    source.addEventListener("open", () => {
      this.connected = true;
      this.#delay = FIRST_RETRY;
    });
    source.addEventListener("run", (event: MessageEvent<string>) =>
      this.onState(JSON.parse(event.data) as LiveState),
    );
    source.addEventListener("error", () => this.#again());
  }

  #again(): void {
    if (this.#source?.readyState === EventSource.CLOSED) this.onRefused();
    this.#drop();
    this.#timer = setTimeout(() => this.#open(), this.#delay);
    this.#delay = Math.min(this.#delay * 2, LONGEST_RETRY);
  }

  #drop(): void {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    this.connected = false;
  }
}
