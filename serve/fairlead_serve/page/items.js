// What a conversation is made of: OpenAI's items. Pure.

export const isQuestion = (item) => item.type === "message" && item.role === "user";

/** Whether the answer ended before its end. */
export const isIncomplete = (item) => item.status === "incomplete";

/** A question's content with another text, and with whatever else was in it. */
export function contentWith(text, content = []) {
  return [{ type: "input_text", text }, ...content.filter((part) => part.type !== "input_text")];
}

/** What was said, as one text. */
export function textOf(item) {
  return textsOf(item, ["input_text", "output_text", "refusal", "text"]);
}

/** What a model thought before it answered. */
export function thoughtsOf(item) {
  return item.type === "reasoning" ? textsOf(item, ["reasoning_text", "summary_text"]) : "";
}

/** The types of what a page of text cannot show: pictures, calls of tools and the like. */
export function othersOf(item) {
  if (item.type === "reasoning") return [];
  if (item.type !== "message") return [item.type];
  return partsOf(item)
    .map((part) => part.type)
    .filter((type) => !["input_text", "output_text", "refusal", "text"].includes(type));
}

function textsOf(item, types) {
  return partsOf(item)
    .filter((part) => types.includes(part.type))
    .map((part) => part.text ?? part.refusal)
    .join("");
}

function partsOf(item) {
  // Reasoning is summarised where its own text is not given.
  return item.content?.length ? item.content : (item.summary ?? []);
}
