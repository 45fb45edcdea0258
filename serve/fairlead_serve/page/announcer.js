// What a screen reader says of an answer: whole blocks, not every word that is added to one.

// By then it is said; who reads the page line by line does not want to find it twice.
const SAID_MS = 20_000;

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
    setTimeout(() => line.remove(), SAID_MS);
  }
}
