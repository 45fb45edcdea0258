// Markdown on its way to the page. The server turns it into HTML, and answers for that nothing in it runs.

import { copyButton } from "./copying.js";
import { say } from "./strings.js";

// As the server has it: longer texts are not read as markdown.
const LONGEST = 32 * 1024;
// Conversations are left and opened again.
const MOST_REMEMBERED = 500;

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const TABLE = /^.*\|.*\n *[|:-][ |:-]*\n/;

export class Markdown {
  #api;
  #known = new Map();

  constructor(api) {
    this.#api = api;
  }

  /**
   * The HTML of `text`, or null where there is none to be had: then the text is shown as it is. `remember`: it may be
   * asked for again.
   */
  async render(text, { remember = false } = {}) {
    if (text.length > LONGEST) return null;
    if (this.#known.has(text)) return this.#known.get(text);
    const html = await this.#api.post("page/markdown", { text }).then((answer) => answer.html, () => null);
    if (remember && html !== null) this.#remember(text, html);
    return html;
  }

  #remember(text, html) {
    if (this.#known.size === MOST_REMEMBERED) this.#known.delete(this.#known.keys().next().value);
    this.#known.set(text, html);
  }
}

/** The nodes of the server's HTML, with what only a page can add: a way to copy code, and to scroll what is wide. */
export function nodesOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  for (const code of template.content.querySelectorAll("pre")) frame(code);
  for (const table of template.content.querySelectorAll("table")) scrollable(table);
  return template.content;
}

/** What is read out of `nodes`: code is only named. */
export function spoken(nodes) {
  const said = nodes.cloneNode(true);
  for (const code of said.querySelectorAll(".code")) code.replaceWith(`${say("code")}: ${code.dataset.language}\n`);
  return said.textContent;
}

/**
 * How `text`, whose end is not there yet, falls into blocks. `cut`: where the last one begins, so that both parts read
 * by themselves as they do together; 0 for a single block. `byLine`: half a line of it would read as something else.
 */
export function blocksIn(text) {
  let cut = 0;
  let start = 0;
  let fence = "";
  let ended = false;
  for (const line of text.split("\n")) {
    const marks = FENCE.exec(line)?.[1] ?? "";
    // After an empty line or code, what stands at the margin begins something new.
    if (!fence && ended && /^\S/.test(line)) cut = start;
    const closes = fence !== "" && marks.startsWith(fence) && line.trim() === marks;
    ended = closes || (!fence && line.trim() === "");
    fence = closes ? "" : fence || marks;
    start += line.length + 1;
  }
  return { cut, byLine: fence !== "" || TABLE.test(text.slice(cut)) };
}

function frame(code) {
  const box = document.createElement("div");
  const head = document.createElement("div");
  const language = document.createElement("span");
  box.className = "code";
  box.dataset.language = code.dataset.language ?? "";
  language.textContent = box.dataset.language;
  head.append(language, copyButton(say("copy_code"), () => code.textContent));
  code.replaceWith(box);
  box.append(head, code);
  scrolls(code, say("code"));
}

function scrollable(table) {
  const box = document.createElement("div");
  box.className = "table";
  table.replaceWith(box);
  box.append(table);
  scrolls(box, say("table"));
}

/** What is wider than the page is scrolled by itself, by keyboard too. */
function scrolls(element, label) {
  element.tabIndex = 0;
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", label);
}
