// Text that grows smoothly while it comes, and block by block becomes what its markdown means.

import { blocksIn, nodesOf, spoken } from "./markdown.js";

// How often the server is asked, at most, what the text so far means.
const READ_MS = 300;
// The last block is read again while it grows, up to this length; and only for what may be more than plain text.
const LONGEST_DRAFT = 8000;
const MARKUP = /[^\p{L}\p{M}\s.,;:!?'"()，。；：！？“”‘’（）]/u;
// Of what has come and is not shown yet, a frame shows this part: bursts become a flow, at most 150 ms late.
const PART_OF_A_FRAME = 1 / 8;
// What text can go on in, of all that markdown makes. After a table it goes on below.
const BLOCKS = "p, h1, h2, h3, h4, h5, h6, ul, ol, li, blockquote, .code, pre, pre > code";

const still = matchMedia("(prefers-reduced-motion: reduce)");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Growth {
  #element;
  #markdown;
  #onRead;
  #onEnd;
  #text = "";
  #ended = false;
  #frame = 0;
  // How much of the text is shown at all, is read, and is in blocks that are whole; and the HTML of these.
  #shown = 0;
  #read = 0;
  #whole = 0;
  #html = "";
  // The last block, and in it the text that came after it was read.
  #last = document.createElement("div");
  #fresh = document.createElement("span");

  /** `element` gets the text. `onRead(text)` is called with each part that is done, `onEnd()` after the last of them. */
  constructor(element, markdown, { onRead, onEnd }) {
    this.#element = element;
    this.#markdown = markdown;
    this.#onRead = onRead;
    this.#onEnd = onEnd;
    this.#fresh.className = "fresh";
    element.append(this.#last);
    this.#continue();
  }

  get text() {
    return this.#text;
  }

  /** More of the text. */
  add(text) {
    if (!this.#text) this.#readOn();
    this.#text += text;
    this.#schedule();
  }

  /** There will be no more; the whole is `text`. */
  end(text = this.#text) {
    if (this.#ended) return;
    if (!text.startsWith(this.#text.slice(0, this.#shown))) this.#shown = 0;
    this.#text = text;
    this.#ended = true;
    if (!this.#shown) this.#shown = text.length;
    this.#schedule();
  }

  #schedule() {
    this.#frame ||= requestAnimationFrame(() => this.#step());
  }

  #step() {
    this.#frame = 0;
    const behind = this.#text.length - this.#shown;
    const more = still.matches ? behind : Math.ceil(behind * PART_OF_A_FRAME);
    this.#shown = endOfCharacter(this.#text, this.#shown + more);
    this.#fresh.textContent = this.#text.slice(this.#read, this.#shown);
    if (this.#shown < this.#text.length) this.#schedule();
    else if (this.#ended) this.#finish();
  }

  async #readOn() {
    while (!this.#ended) {
      const settled = await this.#readSome();
      if (!settled) await pause(READ_MS);
    }
  }

  /** Whether a block is whole now. */
  async #readSome() {
    const part = this.#text.slice(this.#whole, this.#shown);
    const { cut, byLine } = blocksIn(part);
    if (cut) {
      const html = await this.#markdown.render(part.slice(0, cut));
      if (html === null || this.#ended) return false;
      this.#settle(html, cut);
      return true;
    }
    if (part.length <= LONGEST_DRAFT && MARKUP.test(this.#text.slice(this.#read, this.#shown))) {
      const length = byLine ? part.lastIndexOf("\n") + 1 : part.trimEnd().length;
      const html = await this.#markdown.render(part.slice(0, length));
      if (html !== null && !this.#ended) this.#draft(html, length);
    }
    return false;
  }

  /** The first `length` characters of what is not whole yet are, and mean `html`. */
  #settle(html, length) {
    const nodes = nodesOf(html);
    this.#onRead(spoken(nodes));
    this.#last.before(nodes);
    this.#html += html;
    this.#whole += length;
    this.#draft("", 0);
  }

  /** The last block's first `length` characters mean `html` as far as can be told. */
  #draft(html, length) {
    this.#last.replaceChildren(nodesOf(html));
    this.#read = this.#whole + length;
    this.#continue();
  }

  /** Let the text go on where the last block ends. */
  #continue() {
    let block = this.#last;
    while (block.lastElementChild?.matches(BLOCKS)) block = block.lastElementChild;
    if (block === this.#last) block = block.appendChild(document.createElement("p"));
    this.#fresh.textContent = this.#text.slice(this.#read, this.#shown);
    block.append(this.#fresh);
  }

  async #finish() {
    const [rest, all] = await Promise.all([
      this.#markdown.render(this.#text.slice(this.#whole)),
      this.#markdown.render(this.#text, { remember: true }),
    ]);
    if (rest !== null) {
      this.#settle(rest, this.#text.length - this.#whole);
      this.#last.remove();
    }
    // Links to notes at the end, and lists with empty lines in them, mean more together.
    if (all !== null && all !== this.#html) this.#element.replaceChildren(nodesOf(all));
    this.#onEnd();
  }
}

/** `end`, or one more where it would cut a character that JavaScript counts as two. */
function endOfCharacter(text, end) {
  const code = text.charCodeAt(end - 1);
  return code >= 0xd800 && code <= 0xdbff ? end + 1 : end;
}
