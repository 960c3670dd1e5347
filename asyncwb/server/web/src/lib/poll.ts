// Asking again and again, gently: never two at once, not while the tab is hidden.

/** Runs `task` now and every `seconds` while the tab is visible. Returns the function that stops. */
export function poll(task: () => Promise<void>, seconds: number): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let [stopped, busy] = [false, false];

  async function turn(): Promise<void> {
    if (stopped || busy) return;
    clearTimeout(timer);
    busy = true;
    await task();
    busy = false;
    if (!stopped && !document.hidden) timer = setTimeout(() => void turn(), seconds * 1000);
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
