// A turn that is under way: noted before anything is changed, so that nothing is lost whatever becomes of the page.

import { isQuestion, textOf } from "./items.js";

// When to look for it: the server keeps a cut answer as soon as it sees that nobody listens any more.
const LOOKS_MS = [0, 50, 100, 200, 400, 800];

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Pending {
  #notes;
  #record;
  #turn;

  /** The turn that is noted for the conversation of `record`, if there is one. */
  constructor(notes, record) {
    this.#notes = notes;
    this.#record = record;
    this.#turn = notes.get(this.#name);
  }

  /** `text` is asked in the place of all items but the first `kept`. */
  begin(text, kept) {
    const { items } = this.#record;
    this.#note({ text, after: items[kept - 1]?.id ?? "", removed: items.slice(kept) });
  }

  /** The conversation has an id now. */
  rename(id) {
    const turn = this.#turn;
    this.#note(undefined);
    this.#record.id = id;
    this.#note(turn);
  }

  /**
   * Find out what became of the turn. Where the server has not taken it, what it removed is put back. `patient`: the
   * server may be about to take it.
   *
   * Gives null where all is well; else the text that was not taken, "" where it is there again with what was put back.
   */
  async settle({ patient = false } = {}) {
    if (!this.#turn) return null;
    for (const ms of patient ? LOOKS_MS : [0]) {
      await pause(ms);
      await this.#record.readOn();
      if (this.#isTaken()) {
        this.#note(undefined);
        return null;
      }
    }
    const { text, removed } = this.#turn;
    await this.#record.restore(removed);
    this.#note(undefined);
    return removed.length && textOf(removed[0]) === text ? "" : text;
  }

  #isTaken() {
    const { text, after, removed } = this.#turn;
    const { items } = this.#record;
    const old = new Set(removed.map((item) => item.id));
    const since = items.slice(items.findIndex((item) => item.id === after) + 1).filter((item) => !old.has(item.id));
    return since.some((item) => isQuestion(item) && textOf(item) === text);
  }

  get #name() {
    return `turn.${this.#record.id}`;
  }

  #note(turn) {
    this.#turn = turn;
    this.#notes.set(this.#name, turn);
  }
}
