// A question in the thread, which can be edited and asked again.

import { othersOf, textOf } from "./items.js";
import { copyOf, partsOf } from "./parts.js";
import { say } from "./strings.js";
import { sendsOn } from "./typing.js";

export class Question {
  #parts;
  #onAsk;

  /** `onAsk(text)` is called when it is to be asked again, in other words. */
  constructor(text, onAsk) {
    this.element = copyOf("question");
    this.#parts = partsOf(this.element);
    this.#onAsk = onAsk;
    this.#parts.text.textContent = text;
    this.#parts.edit.addEventListener("click", () => this.#edit());
    this.#parts.cancel.addEventListener("click", () => this.#leave());
    this.#parts.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask();
    });
    this.#parts.words.addEventListener("keydown", (event) => {
      if (!sendsOn(event)) return;
      event.preventDefault();
      this.#ask();
    });
    this.#parts.form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.#leave();
    });
  }

  /** Say what else is in `item` than text. */
  show(item) {
    const others = othersOf(item);
    this.#parts.others.hidden = others.length === 0;
    this.#parts.others.textContent = others.map((type) => say("other_item", { type })).join(" ");
  }

  #edit() {
    this.#editing(true);
    this.#parts.words.value = this.#parts.text.textContent;
    this.#parts.words.focus();
  }

  #leave() {
    this.#editing(false);
    this.#parts.edit.focus();
  }

  #ask() {
    const text = this.#parts.words.value.trim();
    if (!text) return;
    this.#editing(false);
    this.#onAsk(text);
  }

  #editing(on) {
    this.#parts.form.hidden = !on;
    this.#parts.text.hidden = on;
    this.#parts.actions.hidden = on;
  }
}
