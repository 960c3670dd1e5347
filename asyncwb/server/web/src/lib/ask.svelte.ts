// Asking a person before something is done that cannot be undone: one dialog for the whole page.

export interface Question {
  title: string;
  text: string;
  /** What the button that does it says. */
  action: string;
}

class Asker {
  question = $state.raw<Question | null>(null);
  #answer: (yes: boolean) => void = () => undefined;

  /** Resolves to what the person chose; leaving the dialog is a no. */
  ask(question: Question): Promise<boolean> {
    this.#answer(false);
    this.question = question;
    return new Promise((resolve) => (this.#answer = resolve));
  }

  answer(yes: boolean): void {
    this.#answer(yes);
    this.question = null;
  }
}

export const asker = new Asker();
