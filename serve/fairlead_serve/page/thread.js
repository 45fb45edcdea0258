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
    const turns = turnsOf(items);
    const same = turns.findIndex((turn, index) => !isSame(turn, this.#turns[index]));
    const kept = same < 0 ? turns.length : same;
    this.#drop(this.#turns.slice(kept));
    const added = turns.slice(kept).map((turn) => this.#add(turn));
    // The last answer first: it is the one in view.
    for (const turn of added.toReversed()) {
      turn.question?.show(turn.item);
      turn.answer?.show(turn.said);
    }
  }

  /** Show a question that is being asked, in the place of the one of the item `instead` and all that came after. */
  begin(text, instead) {
    const from = this.#turns.findIndex((turn) => turn.item && turn.item === instead);
    this.#drop(from < 0 ? [] : this.#turns.slice(from));
    return this.#add({ text, item: null, said: null });
  }

  /** `turn`, the last one, is among `items` now. */
  settle(turn, { items }) {
    const { item, said } = turnsOf(items).at(-1);
    Object.assign(turn, { item, said });
    turn.question.show(item);
    turn.answer.show(said);
  }

  /** `text`: of the question; undefined where something was said unasked. `said`: the answer; null where it is coming. */
  #add({ text, item, said }) {
    const turn = { text, item, said, element: document.createElement("section") };
    turn.element.className = "turn";
    if (text !== undefined) turn.question = this.#questionOf(turn);
    if (said?.length !== 0) turn.answer = this.#answerTo(turn);
    turn.element.append(...[turn.question, turn.answer].filter(Boolean).map((part) => part.element));
    this.element.append(turn.element);
    this.#turns.push(turn);
    return turn;
  }

  #drop(turns) {
    turns.forEach((turn) => turn.element.remove());
    this.#turns = this.#turns.filter((turn) => !turns.includes(turn));
  }

  #questionOf(turn) {
    return new Question(turn.text, (words) => this.onAsk(contentWith(words, turn.item?.content), turn.item));
  }

  #answerTo(turn) {
    return new Answer(this.#markdown, this.#announcer, () => {
      this.onAsk(turn.item?.content ?? contentWith(turn.text), turn.item);
    });
  }
}

/** `items` as questions with what was said after each. */
function turnsOf(items) {
  const turns = [];
  for (const item of items) {
    if (isQuestion(item)) turns.push({ text: textOf(item), item, said: [] });
    else if (turns.length) turns.at(-1).said.push(item);
    else turns.push({ item: null, said: [item] });
  }
  return turns;
}

/** Whether two turns, the second of which may not be there, are of the same items. */
function isSame(turn, other) {
  const [items, others] = [turn, other].map((one) => [one?.item, ...(one?.said ?? [])]);
  return items.length === others.length && items.every((item, index) => item === others[index]);
}
