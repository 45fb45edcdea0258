// Elements of index.html, and the parts of them that scripts work with.

import { write } from "./strings.js";

/** The parts of `element`, by the names that index.html gives them. */
export function partsOf(element) {
  return Object.fromEntries([...element.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
}

/** A new element after the template of that id, in the person's language. */
export function copyOf(id) {
  const copy = document.getElementById(id).content.cloneNode(true);
  write(copy);
  return copy.firstElementChild;
}
