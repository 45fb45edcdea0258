// What was said, from the first question to the answer that is coming.

import { Answer } from "./answer.js";
import { contentWith, isQuestion, textOf } from "./items.js";
import { Question } from "./question.js";

export class Thread {
  #markdown;
  #announcer;
  #turns = [];

  constructor(markdown, announcer) {
    this.#markdown = markdown;
    this.#announcer = announcer;
    this.element = document.createElement("div");
    this.element.className = "thread";
    /** Called with the content and the item of a question that is to be asked again. */
    this.onAsk = () => {};
  }

  get isEmpty() {
    return this.#turns.length === 0;
  }

  /** While an answer comes, nothing can be asked again. */
  set busy(busy) {
    this.element.classList.toggle("busy", busy);
  }

  /** Show all of `items`, and nothing else. */
  show({ items }) {
    this.#drop(this.#turns);
    for (const item of items) {
      if (isQuestion(item) || this.isEmpty) this.#add();
      const turn = this.#turns.at(-1);
      if (isQuestion(item)) this.#addQuestion(turn, textOf(item)).show(item);
      if (isQuestion(item)) turn.item = item;
      else turn.said.push(item);
    }
    // The last answer first: it is the one in view.
    for (const turn of this.#turns.toReversed()) {
      if (turn.said.length) this.#addAnswer(turn).show(turn.said);
    }
  }

  /** Show a question that is being asked, in the place of the one of the item `instead` and all that came after. */
  begin(text, instead) {
    const from = this.#turns.findIndex((turn) => turn.item && turn.item === instead);
    this.#drop(from < 0 ? [] : this.#turns.slice(from));
    this.#announcer.clear();
    const turn = this.#add();
    this.#addQuestion(turn, text);
    this.#addAnswer(turn);
    return turn;
  }

  /** `turn`, the last one, is among `items` now. */
  settle(turn, { items }) {
    const last = items.findLastIndex(isQuestion);
    turn.item = items[last];
    turn.question.show(turn.item);
    turn.answer.show(items.slice(last + 1));
  }

  #add() {
    const turn = { element: document.createElement("section"), item: null, said: [] };
    turn.element.className = "turn";
    this.element.append(turn.element);
    this.#turns.push(turn);
    return turn;
  }

  #drop(turns) {
    turns.forEach((turn) => turn.element.remove());
    this.#turns = this.#turns.filter((turn) => !turns.includes(turn));
  }

  #addQuestion(turn, text) {
    turn.question = new Question(text, (words) => this.onAsk(contentWith(words, turn.item?.content), turn.item));
    turn.element.append(turn.question.element);
    return turn.question;
  }

  #addAnswer(turn) {
    turn.answer = new Answer(this.#markdown, this.#announcer, () => this.onAsk(turn.item.content, turn.item));
    turn.element.append(turn.answer.element);
    return turn.answer;
  }
}
