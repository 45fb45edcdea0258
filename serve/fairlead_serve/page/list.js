// The list of conversations, the last used first.

import { partsOf } from "./parts.js";
import { date, say } from "./strings.js";

const PAGE = 30;
const LONGEST_PAGE = 100;

export class List {
  #api;
  #parts;
  #dialog;
  #conversations = [];
  #current = "";

  /** `element` is the list, `dialog` asks before anything is deleted. */
  constructor(api, element, dialog) {
    this.#api = api;
    this.#dialog = dialog;
    this.#parts = partsOf(element);
    this.#parts.more.addEventListener("click", () => this.#try(() => this.#readOn(PAGE)));
    /** Called with what went wrong, and `retry`, which does it again. */
    this.onProblem = () => {};
    /** Called with the id of a conversation that is deleted. */
    this.onDelete = () => {};
  }

  /** The id of the conversation that is open. */
  set current(id) {
    this.#current = id;
    this.#mark();
  }

  /** Read it again, as far as it was read. */
  async read() {
    const length = Math.max(PAGE, this.#conversations.length);
    await this.#readOn(Math.min(length, LONGEST_PAGE), []);
  }

  async #readOn(limit, known = this.#conversations) {
    const after = known.at(-1);
    const query = new URLSearchParams({ limit, ...(after && { after: after.id }) });
    const page = await this.#api.get(`v1/conversations?${query}`);
    this.#conversations = [...known, ...page.data];
    this.#parts.more.hidden = !page.has_more;
    this.#parts.none.hidden = this.#conversations.length > 0;
    this.#parts.list.replaceChildren(...this.#conversations.map((one) => this.#row(one)));
    this.#mark();
  }

  #row(conversation) {
    const title = nameOf(conversation);
    const row = document.createElement("li");
    const link = document.createElement("a");
    const remove = document.createElement("button");
    link.href = `#${conversation.id}`;
    link.textContent = title;
    link.title = title;
    link.dir = "auto";
    remove.type = "button";
    remove.className = "remove";
    remove.setAttribute("aria-label", say("delete_this", { title }));
    remove.addEventListener("click", () => this.#askToDelete(conversation));
    row.append(link, remove);
    return row;
  }

  #mark() {
    for (const link of this.#parts.list.querySelectorAll("a")) {
      if (link.hash === `#${this.#current}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  #askToDelete(conversation) {
    this.#dialog.querySelector("p").textContent = say("delete_question", { title: nameOf(conversation) });
    this.#dialog.returnValue = "";
    this.#dialog.onclose = () => {
      if (this.#dialog.returnValue === "delete") this.#try(() => this.#delete(conversation));
    };
    this.#dialog.showModal();
  }

  async #delete({ id }) {
    await this.#api.delete(`v1/conversations/${id}`);
    this.onDelete(id);
    await this.read();
  }

  async #try(action) {
    try {
      await action();
    } catch (error) {
      this.onProblem(error, { retry: () => this.#try(action) });
    }
  }
}

/** What a conversation is called. */
function nameOf({ metadata, created_at }) {
  return metadata.title || say("untitled", { date: date(created_at) });
}
