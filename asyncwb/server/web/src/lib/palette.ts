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

function resolved(name: string, alpha = 1): string {
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
