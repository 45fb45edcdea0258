// The place that the thread is scrolled in: it stays at the end while the answer grows, unless somebody scrolls up.

const CLOSE = 48;

export class Scroll {
  #element;
  #button;
  #following = true;
  #before = 0;

  /** `element` scrolls `content`; `button` leads back to the end. */
  constructor(element, content, button) {
    this.#element = element;
    this.#button = button;
    element.addEventListener("scroll", () => this.#look(), { passive: true });
    button.addEventListener("click", () => this.toEnd());
    // Who works with something in the thread is not taken away from it.
    content.addEventListener("focusin", () => (this.#following = false));
    // After the layout and before the frame is painted: nothing is laid out twice, and nothing jumps.
    const sizes = new ResizeObserver(() => this.#follow());
    sizes.observe(content);
    sizes.observe(element);
  }

  /** Go to the end and stay there. */
  toEnd() {
    this.#following = true;
    this.#follow();
  }

  /** Let `change` add something above what is in view. */
  keep(change) {
    const below = this.#element.scrollHeight - this.#element.scrollTop;
    this.#following = false;
    change();
    this.#element.scrollTop = this.#element.scrollHeight - below;
  }

  get #left() {
    return this.#element.scrollHeight - this.#element.clientHeight - this.#element.scrollTop;
  }

  #follow() {
    if (this.#following) this.#element.scrollTop = this.#element.scrollHeight;
    this.#button.hidden = this.#left < CLOSE;
  }

  #look() {
    const { scrollTop } = this.#element;
    if (this.#left < CLOSE) this.#following = true;
    else if (scrollTop < this.#before) this.#following = false;
    this.#before = scrollTop;
    this.#button.hidden = this.#left < CLOSE;
  }
}
