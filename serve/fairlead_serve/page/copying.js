// Copying texts to the clipboard.

import { say } from "./strings.js";

const SHOWN_MS = 1500;

/** A button that copies what `text()` gives, and says so. */
export function copyButton(label, text) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  const show = (words, name = words) => {
    button.textContent = words;
    button.setAttribute("aria-label", name);
  };
  show(say("copy"), label);
  button.addEventListener("click", async () => {
    show((await copy(text())) ? say("copied") : say("copy_failed"));
    setTimeout(() => show(say("copy"), label), SHOWN_MS);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyTheOldWay(text);
  }
}

/** Browsers give no clipboard to a page that came over plain HTTP from another machine. */
function copyTheOldWay(text) {
  const area = document.createElement("textarea");
  const focused = document.activeElement;
  area.value = text;
  area.className = "hidden";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return done;
}
