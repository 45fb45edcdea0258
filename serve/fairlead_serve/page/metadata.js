// What is kept with a conversation: its title and settings, as the texts under short names that metadata is. Pure.

const LONGEST = 512;
const PARTS = 8;

/** How long a system prompt may be, in characters: it is kept in a few parts. */
export const LONGEST_INSTRUCTIONS = LONGEST * PARTS;
const LONGEST_TITLE = 60;

const OURS = /^(title|model|temperature|instructions(_\d+)?)$/;

/** How many characters there are, as the server counts them. */
export const lengthOf = (text) => [...text].length;

/** The settings in `metadata`; `temperature` is null where the model's own holds. */
export function settingsIn(metadata) {
  const parts = [...Array(PARTS).keys()].map((index) => metadata[`instructions_${index}`] ?? "");
  const temperature = Number.parseFloat(metadata.temperature);
  return {
    model: metadata.model ?? "",
    instructions: metadata.instructions ?? parts.join(""),
    temperature: Number.isNaN(temperature) ? null : temperature,
  };
}

/** `metadata` with these settings and that title in the place of its own. What others keep there stays. */
export function metadataWith(metadata, { title, model, instructions, temperature }) {
  const others = Object.entries(metadata).filter(([name]) => !OURS.test(name));
  const settings = { title, model, temperature: temperature === null ? "" : String(temperature), ...parted(instructions) };
  return Object.fromEntries([...others, ...Object.entries(settings).filter(([, value]) => value)]);
}

/** A title made of a question: the beginning of its first line. */
export function titleOf(question) {
  const [line] = question.trim().split("\n");
  const characters = [...line];
  return characters.length > LONGEST_TITLE ? `${characters.slice(0, LONGEST_TITLE - 1).join("")}…` : line;
}

function parted(instructions) {
  const characters = [...instructions];
  if (characters.length <= LONGEST) return { instructions };
  const parts = {};
  for (let index = 0; index * LONGEST < characters.length; index += 1) {
    parts[`instructions_${index}`] = characters.slice(index * LONGEST, (index + 1) * LONGEST).join("");
  }
  return parts;
}
