// What the page has to know again after a reload: drafts, and turns that the server has not taken yet.

const PREFIX = "fairlead.";

export class Notes {
  // Where the browser stores nothing, notes live as long as the page.
  #held = new Map();

  /** The note of that name; undefined where there is none. */
  get(name) {
    if (this.#held.has(name)) return this.#held.get(name);
    try {
      return JSON.parse(localStorage.getItem(PREFIX + name)) ?? undefined;
    } catch {
      return undefined; // nothing is stored here, or something that is not ours
    }
  }

  /** `value`: anything that JSON can say; undefined to forget what there is. */
  set(name, value) {
    this.#held.delete(name);
    try {
      if (value === undefined) localStorage.removeItem(PREFIX + name);
      else localStorage.setItem(PREFIX + name, JSON.stringify(value));
    } catch {
      this.#held.set(name, value); // there is no storage, or it is full
    }
  }

  /** Forget everything: who comes next on this device may be somebody else. */
  clear() {
    this.#held.clear();
    const names = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
    names.forEach((name) => localStorage.removeItem(name));
  }
}
