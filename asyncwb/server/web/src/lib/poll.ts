// Asking again and again, gently: never two at once, not while the tab is hidden.

/**
 * Runs `task` now and then every `seconds` while the tab is visible; a slow one has twice as long
 * a rest as it took. Returns the function that stops.
 */
export function poll(task: () => Promise<void>, seconds: number | (() => number)): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let [stopped, busy] = [false, false];

  async function turn(): Promise<void> {
    if (stopped || busy) return;
    clearTimeout(timer);
    busy = true;
    const started = performance.now();
    await task();
    busy = false;
    const wanted = (typeof seconds === "number" ? seconds : seconds()) * 1000;
    const rest = Math.max(wanted, 2 * (performance.now() - started));
    if (!stopped && !document.hidden) timer = setTimeout(() => void turn(), rest);
  }
  function seen(): void {
    if (!document.hidden) void turn();
  }

  document.addEventListener("visibilitychange", seen);
  void turn();
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}
