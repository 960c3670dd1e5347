// A list that the server gives page by page: the first page is asked for again and again, the
// rest on demand.

import { explain } from "./api";

export interface Answer<T> {
  rows: T[];
  /** Where the next page begins; null: there is none. */
  next: string | null;
}

export class Pages<T> {
  next = $state<string | null>(null);
  trouble = $state<string | null>(null);
  #first = $state.raw<T[] | null>(null);
  #older = $state.raw<T[]>([]);

  /** Null until the first answer. */
  readonly rows = $derived.by((): T[] | null => {
    if (this.#first === null) return null;
    const fresh = new Set(this.#first.map(this.idOf));
    return [...this.#first, ...this.#older.filter((row) => !fresh.has(this.idOf(row)))];
  });

  constructor(
    readonly ask: (after: string | null) => Promise<Answer<T>>,
    readonly idOf: (row: T) => string,
  ) {}

  async refresh(): Promise<void> {
    await this.#load(null, ({ rows, next }) => {
      this.#first = rows;
      if (this.#older.length === 0) this.next = next;
    });
  }

  async more(): Promise<void> {
    await this.#load(this.next, ({ rows, next }) => {
      this.#older = [...this.#older, ...rows];
      this.next = next;
    });
  }

  async #load(after: string | null, take: (answer: Answer<T>) => void): Promise<void> {
    try {
      take(await this.ask(after));
      this.trouble = null;
    } catch (error) {
      this.trouble = explain(error);
    }
  }
}
