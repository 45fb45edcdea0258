// What a screen reader says of an answer: whole blocks, not every word that is added to one.

export class Announcer {
  #element;

  /** `element` is a live region that nobody sees. */
  constructor(element) {
    this.#element = element;
  }

  say(text) {
    const line = document.createElement("p");
    line.textContent = text;
    this.#element.append(line);
  }

  /** Forget what was said: it is said already. */
  clear() {
    this.#element.replaceChildren();
  }
}
