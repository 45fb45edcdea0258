// Which keys send what is being typed.

/** Whether there are only fingers to write with. There is no Shift+Enter then: Enter breaks the line, a button sends. */
export const touch = matchMedia("(hover: none) and (pointer: coarse)");

/** Whether the key of `event` means to send. While an input method composes, Enter chooses a word. */
export function sendsOn(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229 && !touch.matches;
}
