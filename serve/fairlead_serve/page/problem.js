// What went wrong, in words.

import { ApiError } from "./api.js";
import { partsOf } from "./parts.js";
import { say } from "./strings.js";

const TITLES = {
  0: "unreachable",
  200: "answer_failed",
  401: "unauthorised",
  403: "forbidden",
  404: "not_found",
  408: "timeout",
  413: "too_large",
  429: "too_many",
  502: "unavailable",
  503: "unavailable",
  504: "timeout",
};

export class Problem {
  #element;
  #parts;
  #retry = () => {};

  constructor(element) {
    this.#element = element;
    this.#parts = partsOf(element);
    this.#parts.close.addEventListener("click", () => this.clear());
    this.#parts.retry.addEventListener("click", () => {
      this.clear();
      this.#retry();
    });
  }

  /** Tell of `error`. `retry` does again what failed; `lost`: what was written is back in the box. */
  show(error, { retry = null, lost = false } = {}) {
    if (!(error instanceof ApiError)) {
      reportError(error);
      this.tell(say("page_failed"), error.message, { retry, lost });
      return;
    }
    const others = error.status < 500 ? "refused" : "failed";
    // What the server says of keys is for people who write programs.
    const detail = error.status === 401 ? say("key_hint") : error.message;
    this.tell(say(TITLES[error.status] ?? others), detail, { retry, lost, requestId: error.requestId });
  }

  /** Tell of something that is no answer of the server. */
  tell(title, detail, { retry = null, lost = false, requestId = "" } = {}) {
    this.#parts.title.textContent = title;
    this.#parts.detail.textContent = detail;
    this.#parts.lost.hidden = !lost;
    this.#parts.request.textContent = requestId;
    this.#parts.retry.hidden = retry === null;
    this.#retry = retry;
    this.#element.hidden = false;
  }

  clear() {
    this.#element.hidden = true;
  }
}
