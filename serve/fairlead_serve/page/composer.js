// Where messages are written. What is in it survives a reload.

import { partsOf } from "./parts.js";
import { say } from "./strings.js";
import { sendsOn, touch } from "./typing.js";

export class Composer {
  #notes;
  #parts;
  #conversation = "";

  /** `onSend(text)` is called with what is to be sent, `onStop()` when the answer is to end. */
  constructor(form, notes, { onSend, onStop }) {
    this.#notes = notes;
    this.#parts = partsOf(form);
    const { text, stop } = this.#parts;
    text.addEventListener("input", () => {
      this.keep();
      this.#fit();
    });
    text.addEventListener("keydown", (event) => {
      if (!sendsOn(event)) return;
      event.preventDefault();
      form.requestSubmit();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!stop.hidden || !text.value.trim()) return;
      onSend(text.value.trim());
    });
    stop.addEventListener("click", () => {
      onStop();
      this.focus();
    });
  }

  set busy(busy) {
    this.#parts.send.hidden = busy;
    this.#parts.stop.hidden = !busy;
  }

  set model(model) {
    this.#parts.text.placeholder = model ? say("message_to", { model }) : say("message");
  }

  /** Go on with what was written for another conversation. */
  open(conversation) {
    this.#conversation = conversation;
    this.#write(this.#notes.get(this.#name) ?? "");
  }

  /** The conversation that this was written for has an id now. */
  rename(conversation) {
    this.#notes.set(this.#name);
    this.#conversation = conversation;
    this.keep();
  }

  /** Remember what is written. */
  keep() {
    this.#notes.set(this.#name, this.#parts.text.value || undefined);
  }

  /** Empty it, but remember what was in it until `keep`. */
  clear() {
    this.#write("");
  }

  /** Give `text` back, before what has been written since. */
  giveBack(text, conversation) {
    const name = `draft.${conversation}`;
    const whole = [text, name === this.#name ? this.#parts.text.value : this.#notes.get(name)].filter(Boolean);
    this.#notes.set(name, whole.join("\n\n"));
    if (name === this.#name) this.#write(whole.join("\n\n"));
  }

  /** Be ready to be written in; where that would bring up a keyboard, only when the person wants it. */
  focus() {
    if (!touch.matches) this.#parts.text.focus();
  }

  get #name() {
    return `draft.${this.#conversation}`;
  }

  #write(text) {
    this.#parts.text.value = text;
    this.#fit();
  }

  /** As many lines as there are, within what the style sheet allows. */
  #fit() {
    const { text } = this.#parts;
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
  }
}
