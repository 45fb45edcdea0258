// The model, the system prompt and the temperature of a conversation.

import { LONGEST_INSTRUCTIONS, lengthOf } from "./metadata.js";
import { partsOf } from "./parts.js";
import { number, say } from "./strings.js";

export class Settings {
  #model;
  #parts;
  #models = [];
  #temperature = null;

  /** `model` is the list to pick from, `panel` has the rest. `onChange()` is called when a person changed something. */
  constructor(model, panel, onChange) {
    this.#model = model;
    this.#parts = partsOf(panel);
    const { instructions, temperature, reset } = this.#parts;
    temperature.addEventListener("input", () => this.#setTemperature(temperature.valueAsNumber));
    reset.addEventListener("click", () => {
      this.#setTemperature(null);
      temperature.focus();
      onChange();
    });
    instructions.addEventListener("input", () => this.#measure());
    for (const field of [model, instructions, temperature]) field.addEventListener("change", onChange);
  }

  /** `temperature` is null where the model's own holds. */
  get value() {
    const instructions = this.#parts.instructions.value.trim();
    return { model: this.#model.value, instructions, temperature: this.#temperature };
  }

  set value({ model, instructions, temperature }) {
    this.#offer(model);
    this.#parts.instructions.value = instructions;
    this.#measure();
    this.#setTemperature(temperature);
  }

  /** What is wrong with them, in words; empty where nothing is. */
  get problem() {
    const over = lengthOf(this.value.instructions) - LONGEST_INSTRUCTIONS;
    return over > 0 ? say("instructions_long", { count: number(over), limit: number(LONGEST_INSTRUCTIONS) }) : "";
  }

  /** The names that can be picked. */
  get models() {
    return this.#models;
  }

  set models(names) {
    this.#models = names;
    this.#offer(names.includes(this.#model.value) ? this.#model.value : "");
  }

  /** Pick `model`, the first where it is empty. One that is not served any more can stay: the server then says so. */
  #offer(model) {
    const names = model && !this.#models.includes(model) ? [...this.#models, model] : this.#models;
    this.#model.replaceChildren(...names.map((name) => new Option(name)));
    if (model) this.#model.value = model;
  }

  #measure() {
    this.#parts.problem.textContent = this.problem;
    this.#parts.instructions.setAttribute("aria-invalid", String(Boolean(this.problem)));
  }

  #setTemperature(value) {
    this.#temperature = value;
    if (value !== null) this.#parts.temperature.value = value;
    this.#parts.shown.textContent = value === null ? say("default") : number(value, 1);
    this.#parts.temperature.setAttribute("aria-valuetext", this.#parts.shown.textContent);
    this.#parts.temperature.classList.toggle("unset", value === null);
    this.#parts.reset.hidden = value === null;
  }
}
