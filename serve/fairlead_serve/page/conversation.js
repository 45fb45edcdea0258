// One conversation: its settings, what was said in it, and the turn that is going on.

import { textOf } from "./items.js";
import { metadataWith, titleOf } from "./metadata.js";
import { Pending } from "./pending.js";
import { Record } from "./record.js";

export class Conversation {
  #api;
  #record;
  #pending;
  #loading = null;
  #abort = null;

  /** `thread` shows it. `id` is empty as long as the server does not know of it. */
  constructor(api, notes, thread, id = "") {
    this.#api = api;
    this.#record = new Record(api, id);
    this.#pending = new Pending(notes, this.#record);
    this.thread = thread;
    this.metadata = {};
    /** Called when the id or `busy` has changed. */
    this.onChange = () => {};
  }

  get id() {
    return this.#record.id;
  }

  /** What it is called; empty where nobody gave it a name. */
  get title() {
    return this.metadata.title ?? "";
  }

  /** Whether there is more than was read. */
  get hasEarlier() {
    return this.#record.hasEarlier;
  }

  /** Whether a turn is going on. */
  get busy() {
    return this.#abort !== null;
  }

  /** Read and show it. The text of a question that the server has not taken, "" where there is none. */
  load() {
    this.#loading = this.#load();
    return this.#loading;
  }

  /** Read some of what was said before; `keeping` calls what shows it. */
  async loadEarlier(keeping) {
    await this.#record.readEarlier();
    keeping(() => this.thread.show(this.#record));
  }

  /** Keep other settings with it. */
  async update(settings) {
    const metadata = metadataWith(this.metadata, { title: this.title, ...settings });
    this.metadata = (await this.#api.post(`v1/conversations/${this.id}`, { metadata })).metadata;
  }

  /**
   * Ask, and show the answer while it comes. `content` is a list of OpenAI's parts; `instead`, an item, is the question
   * that this takes the place of, with all that came after it.
   *
   * Gives `failure`, what went wrong or null, and `lost`, the text of the question where the server has not taken it.
   */
  async ask(content, settings, instead = null) {
    this.#abort = new AbortController();
    this.thread.busy = true;
    try {
      return await this.#turn(content, settings, instead);
    } finally {
      this.#abort = null;
      this.thread.busy = false;
      this.onChange();
    }
  }

  /** End the answer where it is. */
  stop() {
    this.#abort?.abort();
  }

  async #load() {
    if (this.id) {
      this.metadata = (await this.#api.get(`v1/conversations/${this.id}`)).metadata;
      await this.#record.readLast();
      this.thread.show(this.#record);
    }
    // A turn that goes on in another tab is that one's to settle.
    const lost = await alone(this.id, () => this.#pending.settle({ patient: true }), { ifAvailable: true });
    this.thread.show(this.#record);
    return lost ?? "";
  }

  async #turn(content, settings, instead) {
    const text = textOf({ content });
    try {
      await this.#loading;
      // An earlier turn, of which that could not be found out then. The person has its text already.
      if ((await this.#pending.settle()) !== null) this.thread.show(this.#record);
    } catch (failure) {
      return { failure, lost: text };
    }
    const { items } = this.#record;
    const kept = items.includes(instead) ? items.indexOf(instead) : items.length;
    this.#pending.begin(text, kept);
    const turn = this.thread.begin(text, instead);
    this.onChange();
    try {
      if (!this.id) await this.#create(text, settings);
      await alone(this.id, () => this.#answer(content, settings, kept, turn.answer));
      return await this.#settle(turn, text, null);
    } catch (failure) {
      return await this.#settle(turn, text, failure);
    }
  }

  async #create(text, settings) {
    const metadata = metadataWith({}, { title: titleOf(text), ...settings });
    const created = await this.#api.post("v1/conversations", { metadata });
    this.metadata = created.metadata;
    this.#pending.rename(created.id);
    this.onChange();
  }

  async #answer(content, { model, instructions, temperature }, kept, answer) {
    await this.#record.cut(kept);
    const request = { model, conversation: this.id, input: [{ type: "message", role: "user", content }] };
    if (instructions) request.instructions = instructions;
    if (temperature !== null) request.temperature = temperature;
    answer.begin(model);
    for await (const event of this.#api.stream("v1/responses", request, this.#abort.signal)) answer.take(event);
  }

  /** Show what the server has of a turn that has ended. */
  async #settle(turn, text, failure) {
    const stopped = failure?.name === "AbortError";
    let lost = text;
    try {
      lost = await this.#pending.settle({ patient: stopped });
      if (lost === null) this.thread.settle(turn, this.#record);
      else this.thread.show(this.#record);
    } catch (error) {
      // The turn stays noted: the next one finds out.
      return { failure: stopped || !failure ? error : failure, lost };
    } finally {
      turn.answer.end();
    }
    return { failure: stopped ? null : failure, lost: lost ?? "" };
  }
}

/** Do what only one tab may do at a time. Browsers have locks only where a page is from this machine, or over HTTPS. */
function alone(id, action, options = {}) {
  if (!navigator.locks) return action();
  return navigator.locks.request(`fairlead.${id}`, options, (lock) => (lock ? action() : null));
}
