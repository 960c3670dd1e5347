// The one tooltip of a page: which chart is pointed at, where, and what is there.

export interface Tip {
  left: number;
  top: number;
  title: string;
  lines: [string, string][];
}

export class TipHolder {
  shown = $state.raw<Tip | null>(null);
}
