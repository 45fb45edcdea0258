// An answer in the thread: what the model thought and said, how fast, and what can be done with it.

import { copyButton } from "./copying.js";
import { Growth } from "./growth.js";
import { isIncomplete, othersOf, textOf, thoughtsOf } from "./items.js";
import { copyOf, partsOf } from "./parts.js";
import { number, say } from "./strings.js";

// A rate over less time than this is that of the network, not of the model.
const SHORTEST_MS = 50;

export class Answer {
  #parts;
  #growth;
  #announcer;
  #began = 0;
  #first = 0;
  #last = 0;

  /** `announcer` reads it out; `onRegenerate()` is called when another one is wanted. */
  constructor(markdown, announcer, onRegenerate) {
    this.element = copyOf("answer");
    this.#parts = partsOf(this.element);
    this.#announcer = announcer;
    this.#growth = new Growth(this.#parts.text, markdown, {
      onRead: (text) => this.#announce(text),
      onEnd: () => {
        this.element.removeAttribute("aria-busy");
        this.#announce(say("answer_finished"));
      },
    });
    this.#parts.actions.prepend(copyButton(say("copy_answer"), () => this.#growth.text));
    this.#parts.regenerate.addEventListener("click", onRegenerate);
  }

  /** Wait for the first word of `model`. */
  begin(model) {
    this.#began = performance.now();
    this.element.setAttribute("aria-busy", "true");
    this.element.setAttribute("aria-label", say("answer_by", { model }));
    this.#parts.waiting.hidden = false;
  }

  /** One event of the stream. */
  take({ type, delta, response }) {
    if (/^response\.(output_text|refusal)\.delta$/.test(type)) this.#hear(() => this.#growth.add(delta));
    else if (/^response\.reasoning(_summary)?_text\.delta$/.test(type)) this.#hear(() => this.#think(delta));
    else if (/^response\.(completed|incomplete)$/.test(type)) this.#tell(response.usage?.output_tokens ?? 0);
  }

  /** There is no more to come. */
  end() {
    this.#parts.waiting.hidden = true;
    this.#growth.end();
  }

  /** Show `items` as the answer: the server's own word on what there is of it. */
  show(items) {
    const thoughts = items.map(thoughtsOf).join("");
    this.#parts.thinking.hidden = !thoughts;
    this.#parts.thoughts.textContent = thoughts;
    this.#parts.summary.textContent = say("thoughts");
    this.#parts.incomplete.hidden = !items.some(isIncomplete);
    const others = items.flatMap(othersOf);
    this.#parts.others.hidden = others.length === 0;
    this.#parts.others.textContent = others.map((type) => say("other_item", { type })).join(" ");
    this.#growth.end(items.map((item) => (item.type === "message" ? textOf(item) : "")).filter(Boolean).join("\n\n"));
  }

  #hear(grow) {
    this.#last = performance.now();
    if (!this.#first) {
      this.#first = this.#last;
      this.#parts.waiting.hidden = true;
      this.#parts.stats.textContent = this.#firstToken();
    }
    grow();
  }

  #think(delta) {
    this.#parts.thinking.hidden = false;
    this.#parts.summary.textContent = say("thinking");
    this.#parts.thoughts.append(delta);
  }

  /** Say how long the first of `tokens` took, and how fast the others came. */
  #tell(tokens) {
    const said = [this.#firstToken()];
    const ms = this.#last - this.#first;
    if (tokens > 1 && ms > SHORTEST_MS) said.push(say("tokens_rate", { rate: number(((tokens - 1) / ms) * 1000, 1) }));
    if (tokens) said.push(tokens === 1 ? say("token") : say("tokens", { count: number(tokens) }));
    this.#parts.stats.textContent = said.filter(Boolean).join(" · ");
  }

  /** Read `text` out, where the answer came while somebody waited for it. */
  #announce(text) {
    if (this.#began && text.trim()) this.#announcer.say(text);
  }

  #firstToken() {
    const seconds = (this.#first - this.#began) / 1000;
    return this.#first ? say("first_token", { seconds: number(seconds, seconds < 1 ? 3 : 1) }) : "";
  }
}
