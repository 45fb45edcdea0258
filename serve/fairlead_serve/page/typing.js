// Which keys send what is being typed.

// Phones have no Shift+Enter: there, Enter breaks the line and a button sends.
const touch = matchMedia("(hover: none) and (pointer: coarse)");

/** Whether the key of `event` means to send. While an input method composes, Enter chooses a word. */
export function sendsOn(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229 && !touch.matches;
}
