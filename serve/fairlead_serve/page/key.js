// The API key: asked for where the server wants one, kept in this browser, sent in a header and nowhere else.

import { partsOf } from "./parts.js";
import { say } from "./strings.js";

const NAME = "fairlead.key";
// What a header can carry.
const SENDABLE = /^[!-~]+$/;

export class Key {
  #dialog;
  #button;
  #parts;
  #asked = null;
  #value;
  #declined = false;

  /** `dialog` asks for it; `button` opens that, once there is a key or the server wants one. */
  constructor(dialog, button) {
    this.#dialog = dialog;
    this.#button = button;
    this.#parts = partsOf(dialog);
    this.#value = stored();
    button.hidden = !this.#value;
    button.addEventListener("click", async () => (await this.#open()) && this.onTake());
    this.#parts.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#take(this.#parts.key.value.trim());
    });
    this.#parts.cancel.addEventListener("click", () => dialog.close());
    this.#parts.forget.addEventListener("click", () => {
      this.#keep("");
      dialog.close();
      this.onForget();
    });
    dialog.addEventListener("close", () => {
      this.#declined = this.#asked !== null;
      this.#answer(false);
    });
    // Who has just declined is not asked again until they do something that needs a key.
    for (const kind of ["keydown", "pointerdown"]) addEventListener(kind, () => (this.#declined = false), true);
    /** Called when a key was entered without being asked for. */
    this.onTake = () => {};
    /** Called when nothing of this key is to be left here. */
    this.onForget = () => {};
  }

  /** What to send; empty where there is none. */
  get value() {
    return this.#value;
  }

  /** Ask for another key than `wrong`, which the server did not take. Whether there is one now. */
  ask(wrong = "") {
    if (this.#value && this.#value !== wrong) return Promise.resolve(true); // it was asked for in the meantime
    this.#button.hidden = false;
    if (wrong) this.#keep("");
    if (this.#declined) return Promise.resolve(false);
    this.#parts.wrong.textContent = wrong ? say("key_wrong") : "";
    return this.#open();
  }

  #open() {
    if (!this.#asked) {
      this.#asked = Promise.withResolvers();
      this.#parts.forget.hidden = !this.#value;
      this.#dialog.showModal();
    }
    return this.#asked.promise;
  }

  #take(key) {
    if (!SENDABLE.test(key)) {
      this.#parts.wrong.textContent = say("key_ascii");
      return;
    }
    this.#keep(key, { remember: this.#parts.remember.checked });
    this.#answer(true);
    this.#dialog.close();
  }

  #answer(taken) {
    this.#parts.key.value = "";
    this.#parts.wrong.textContent = "";
    this.#asked?.resolve(taken);
    this.#asked = null;
  }

  #keep(key, { remember = false } = {}) {
    this.#value = key;
    try {
      sessionStorage.removeItem(NAME);
      localStorage.removeItem(NAME);
      if (key) (remember ? localStorage : sessionStorage).setItem(NAME, key);
    } catch {
      // The browser stores nothing: the key lives as long as the page.
    }
  }
}

function stored() {
  try {
    return sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}
