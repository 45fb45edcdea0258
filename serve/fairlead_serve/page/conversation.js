// One conversation: its settings, what was said in it, and the turn that is going on.

import { isQuestion, textOf } from "./items.js";
import { metadataWith, titleOf } from "./metadata.js";
import { Record } from "./record.js";

// When to look for a stopped answer: the server keeps what there is of it when it sees that nobody listens any more.
const LOOKS_MS = [0, 50, 100, 200, 400, 800];

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Conversation {
  #api;
  #notes;
  #record;
  #abort = null;

  /** `thread` shows it. `id` is empty as long as the server does not know of it. */
  constructor(api, notes, thread, id = "") {
    this.#api = api;
    this.#notes = notes;
    this.#record = new Record(api);
    this.#record.id = id;
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

  /** Read it. The text of a question that the server has not taken, "" where there is none. */
  async load() {
    if (this.id) {
      this.metadata = (await this.#api.get(`v1/conversations/${this.id}`)).metadata;
      await this.#record.readLast();
    }
    const lost = await this.#recover();
    this.thread.show(this.#record);
    return lost ?? "";
  }

  /** Read some of what was said before; `keeping` calls what shows it. */
  async loadEarlier(keeping) {
    await this.#record.readEarlier();
    keeping(() => this.thread.show(this.#record));
  }

  /** Keep other settings with it. */
  async update(settings) {
    if (!this.id) return;
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

  async #turn(content, settings, instead) {
    const text = textOf({ content });
    let failure = null;
    try {
      // What became of an earlier turn, where that could not be found out then. The person has its text already.
      if ((await this.#recover()) !== null) this.thread.show(this.#record);
    } catch (error) {
      return { failure: error, lost: text };
    }
    const turn = this.thread.begin(text, instead);
    try {
      await this.#prepare(text, settings, instead);
      await this.#listen(content, settings, turn.answer);
    } catch (error) {
      failure = error;
    }
    const stopped = failure?.name === "AbortError";
    let lost = text;
    try {
      lost = await this.#recover({ patient: stopped });
      if (lost === null) this.thread.settle(turn, this.#record);
      else this.thread.show(this.#record);
    } catch (error) {
      failure = stopped ? error : (failure ?? error);
    }
    turn.answer.end();
    return { failure: failure?.name === "AbortError" ? null : failure, lost: lost ?? "" };
  }

  /** Note the turn, and make room for it. */
  async #prepare(text, settings, instead) {
    const { items } = this.#record;
    const kept = items.includes(instead) ? items.indexOf(instead) : items.length;
    this.#note({ text, after: items[kept - 1]?.id ?? "", removed: items.slice(kept) });
    this.onChange();
    if (!this.id) await this.#create(text, settings);
    await this.#record.cut(kept);
  }

  async #create(text, settings) {
    const metadata = metadataWith({}, { title: titleOf(text), ...settings });
    const created = await this.#api.post("v1/conversations", { metadata });
    const noted = this.#noted;
    this.#note();
    this.#record.id = created.id;
    this.#note(noted);
    this.metadata = created.metadata;
    this.onChange();
  }

  async #listen(content, { model, instructions, temperature }, answer) {
    const request = { model, conversation: this.id, input: [{ type: "message", role: "user", content }] };
    if (instructions) request.instructions = instructions;
    if (temperature !== null) request.temperature = temperature;
    answer.begin(model);
    for await (const event of this.#api.stream("v1/responses", request, this.#abort.signal)) answer.take(event);
  }

  /**
   * Find out what became of the turn that is noted. Where the server has not taken it, what it removed is put back.
   * `patient`: the server may be about to keep it.
   *
   * Gives null where all is well; else the text that was not taken, "" where it is there again with what was put back.
   */
  async #recover({ patient = false } = {}) {
    const noted = this.#noted;
    if (!noted) return null;
    for (const ms of patient ? LOOKS_MS : [0]) {
      await pause(ms);
      await this.#record.readOn();
      if (this.#has(noted)) {
        this.#note();
        return null;
      }
    }
    await this.#record.restore(noted.removed);
    this.#note();
    const [question] = noted.removed;
    return question && textOf(question) === noted.text ? "" : noted.text;
  }

  #has({ text, after, removed }) {
    const { items } = this.#record;
    const old = new Set(removed.map((item) => item.id));
    const since = items.slice(items.findIndex((item) => item.id === after) + 1).filter((item) => !old.has(item.id));
    return since.some((item) => isQuestion(item) && textOf(item) === text);
  }

  get #noted() {
    return this.#notes.get(`turn.${this.id}`);
  }

  #note(turn) {
    this.#notes.set(`turn.${this.id}`, turn);
  }
}
