// What was said in one conversation, as the server has it: items, the oldest first.

// How many the server gives, and takes, at once.
const MOST_READ = 100;
const MOST_ADDED = 20;

export class Record {
  #api;

  /** `id` is the conversation's; empty as long as the server does not know of it. */
  constructor(api, id) {
    this.#api = api;
    this.id = id;
    this.items = [];
    /** Whether there are older items that have not been read. */
    this.hasEarlier = false;
  }

  /** Read the newest items. */
  async readLast() {
    this.items = [];
    await this.readEarlier();
  }

  /** Read some of what came before the items that are known. */
  async readEarlier() {
    const page = await this.#list("desc", this.items[0]);
    this.items = [...page.data.toReversed(), ...this.items];
    this.hasEarlier = page.has_more;
  }

  /** Read what came after the items that are known. */
  async readOn() {
    for (let more = Boolean(this.id); more; ) {
      const page = await this.#list("asc", this.items.at(-1));
      this.items.push(...page.data);
      more = page.has_more;
    }
  }

  /** Delete all but the first `kept` items. */
  async cut(kept) {
    // The last one first: what is left is always the beginning of the conversation.
    while (this.items.length > kept) {
      await this.#api.delete(`${this.#path()}/${this.items.at(-1).id}`);
      this.items.pop();
    }
  }

  /** Put back what of `items` is not there any more. */
  async restore(items) {
    const known = new Set(this.items.map((item) => item.id));
    const missing = items.filter((item) => !known.has(item.id));
    while (missing.length) {
      const added = missing.splice(0, MOST_ADDED);
      this.items.push(...(await this.#api.post(this.#path(), { items: added })).data);
    }
  }

  #list(order, after) {
    const query = new URLSearchParams({ order, limit: MOST_READ, ...(after && { after: after.id }) });
    return this.#api.get(`${this.#path()}?${query}`);
  }

  #path() {
    return `v1/conversations/${this.id}/items`;
  }
}
