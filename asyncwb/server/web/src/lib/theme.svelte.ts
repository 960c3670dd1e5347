// Light or dark: the system's choice until the viewer makes one, which is kept in this browser.

export type Theme = "auto" | "light" | "dark";
const KEY = "asyncwb.theme";
const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };

function stored(): Theme {
  const value = localStorage.getItem(KEY);
  return value === "light" || value === "dark" ? value : "auto";
}

class ThemeChoice {
  choice = $state<Theme>(stored());
  #systemDark = $state(false);
  readonly dark = $derived(this.choice === "auto" ? this.#systemDark : this.choice === "dark");

  constructor() {
    const query = matchMedia("(prefers-color-scheme: dark)");
    this.#systemDark = query.matches;
    query.addEventListener("change", () => (this.#systemDark = query.matches));
    this.#show();
  }

  next(): void {
    this.choice = NEXT[this.choice];
    if (this.choice === "auto") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, this.choice);
    this.#show();
  }

  #show(): void {
    document.documentElement.dataset["theme"] = this.choice;
  }
}

export const theme = new ThemeChoice();
