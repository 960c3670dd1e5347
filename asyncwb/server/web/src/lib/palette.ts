// The colours of the page as the canvas needs them: resolved for light or dark, from app.css.

export interface Palette {
  line: string;
  faint: string;
  band: string;
  grid: string;
  text: string;
  odd: string;
  surface: string;
}

export function resolved(name: string, alpha = 1): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  probe.style.display = "none";
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  const channels = /^rgb\(([^)]+)\)$/.exec(color)?.[1];
  return alpha === 1 || channels === undefined ? color : `rgba(${channels}, ${alpha})`;
}

export const RUN_COLORS = 8;

/** A run keeps its colour on every page: it follows from its id. */
export function runColor(id: string): string {
  let hash = 0;
  for (const letter of id) hash = (hash * 31 + letter.charCodeAt(0)) >>> 0;
  return `--run-${hash % RUN_COLORS}`;
}

/** Colours of runs that are drawn together: each keeps its own where it is still free. */
export function apart(ids: readonly string[]): Map<string, string> {
  const colors = Array.from({ length: RUN_COLORS }, (_, i) => `--run-${i}`);
  const used = new Map<string, number>(colors.map((color) => [color, 0]));
  const uses = (color: string): number => used.get(color) ?? 0;
  return new Map(
    ids.map((id) => {
      const least = Math.min(...used.values());
      const own = runColor(id);
      const color = uses(own) === least ? own : (colors.find((c) => uses(c) === least) ?? own);
      used.set(color, uses(color) + 1);
      return [id, color];
    }),
  );
}

export function palette(color: string): Palette {
  return {
    line: resolved(color),
    faint: resolved(color, 0.35),
    band: resolved(color, 0.24),
    grid: resolved("--grid"),
    text: resolved("--text-soft"),
    odd: resolved("--bad"),
    surface: resolved("--surface"),
  };
}
