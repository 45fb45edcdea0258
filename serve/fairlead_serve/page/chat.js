// The page as a whole: which conversation is open, and what the person does with it.

import { Announcer } from "./announcer.js";
import { Api } from "./api.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { contentWith } from "./items.js";
import { Key } from "./key.js";
import { List } from "./list.js";
import { Markdown } from "./markdown.js";
import { settingsIn } from "./metadata.js";
import { Notes } from "./notes.js";
import { Problem } from "./problem.js";
import { Scroll } from "./scroll.js";
import { Settings } from "./settings.js";
import { language, say, write } from "./strings.js";
import { Thread } from "./thread.js";

const DEFAULTS = { model: "", instructions: "", temperature: null };

const find = (id) => document.getElementById(id);

class Chat {
  #notes = new Notes();
  #key = new Key(find("key"), find("enter-key"));
  #api = new Api(this.#key);
  #markdown = new Markdown(this.#api);
  #announcer = new Announcer(find("announcer"));
  #scroll = new Scroll(find("scroll"), find("content"), find("latest"));
  #problem = new Problem(find("problem"));
  #list = new List(this.#api, find("conversations"), find("delete"));
  #settings = new Settings(find("model"), find("settings"), () => this.#keepSettings());
  #composer = new Composer(find("composer"), this.#notes, {
    onSend: (text) => this.#send(text),
    onStop: () => this.#conversation.stop(),
  });
  #conversation = null;
  #started = null;
  // Their answers go on while another conversation is open.
  #running = new Set();

  start() {
    addEventListener("hashchange", () => this.#try(() => this.#open(idInAddress())));
    addEventListener("keydown", (event) => this.#stopOn(event));
    find("new").addEventListener("click", () => this.#try(() => this.#leave()));
    find("earlier").addEventListener("click", () => this.#try(() => this.#readEarlier()));
    this.#key.onTake = () => location.reload();
    this.#key.onForget = () => {
      this.#notes.clear();
      location.reload();
    };
    this.#list.onProblem = (error, options) => this.#problem.show(error, options);
    this.#list.onDelete = (id) => this.#forget(id);
    this.#composer.open(idInAddress());
    this.#composer.focus();
    this.#started = this.#try(() => this.#read());
  }

  async #read() {
    const { data } = await this.#api.get("v1/models");
    // What cannot generate cannot chat; of servers that are not Fairlead's nobody knows.
    const chatting = data.filter(({ tasks }) => !tasks || tasks.includes("generate"));
    this.#settings.models = chatting.map((model) => model.id);
    await Promise.all([this.#list.read(), this.#open(idInAddress())]);
    const retry = () => this.#try(() => this.#read());
    if (!chatting.length) this.#problem.tell(say("no_model"), say("no_model_detail"), { retry });
  }

  async #open(id) {
    if (this.#conversation?.id === id) return;
    const conversation = [...this.#running].find((one) => one.id === id) ?? this.#make(id);
    const known = conversation.busy;
    this.#conversation = conversation;
    this.#problem.clear();
    find("conversations").hidePopover();
    this.#composer.open(id);
    find("thread").replaceChildren(conversation.thread.element);
    this.#show();
    const lost = known ? "" : await this.#load(conversation);
    if (lost) this.#composer.giveBack(lost, id);
    if (this.#conversation !== conversation) return;
    this.#settings.value = id ? settingsIn(conversation.metadata) : this.#settingsOfNew();
    this.#show();
    this.#scroll.toEnd();
    this.#composer.focus();
  }

  #make(id) {
    const thread = new Thread(this.#markdown, this.#announcer);
    const conversation = new Conversation(this.#api, this.#notes, thread, id);
    thread.onAsk = (content, item) => this.#ask(content, item);
    conversation.onChange = () => this.#follow(conversation);
    return conversation;
  }

  async #load(conversation) {
    try {
      return await conversation.load();
    } catch (error) {
      // It is loaded when it is asked for again.
      if (this.#conversation === conversation) this.#conversation = null;
      if (error.status === 404) await this.#leave();
      throw error;
    }
  }

  /** Begin a new conversation. */
  #leave() {
    if (location.hash) history.pushState(null, "", location.pathname + location.search);
    this.#composer.focus();
    return this.#open("");
  }

  /** The conversation is deleted: nothing of it stays here either. */
  #forget(id) {
    this.#notes.set(`draft.${id}`);
    this.#notes.set(`turn.${id}`);
    if (id === this.#conversation?.id) this.#try(() => this.#leave());
  }

  async #send(text) {
    await this.#started; // some are quicker than the server
    if (!this.#conversation) await this.#try(() => this.#read());
    if (!this.#conversation || this.#conversation.busy) return;
    if (this.#settings.problem) {
      this.#problem.tell(say("refused"), this.#settings.problem);
      return;
    }
    this.#composer.clear();
    await this.#ask(contentWith(text));
  }

  async #ask(content, instead = null) {
    const conversation = this.#conversation;
    this.#problem.clear();
    this.#composer.focus(); // what was clicked is about to go
    this.#scroll.toEnd();
    const { failure, lost } = await conversation.ask(content, this.#settings.value, instead);
    if (lost) this.#composer.giveBack(lost, conversation.id);
    if (failure && conversation === this.#conversation) this.#problem.show(failure, { lost: Boolean(lost) });
    await this.#try(() => this.#list.read());
  }

  /** A turn of `conversation` has begun or ended, or the server knows of it now. */
  #follow(conversation) {
    if (conversation.busy) this.#running.add(conversation);
    else this.#running.delete(conversation);
    if (conversation !== this.#conversation) return;
    if (conversation.id !== idInAddress()) {
      history.pushState(null, "", `#${conversation.id}`);
      this.#composer.rename(conversation.id);
      this.#notes.set("settings", { ...DEFAULTS, model: this.#settings.value.model });
    }
    this.#composer.keep();
    this.#show();
  }

  #show() {
    const { id, busy, title, hasEarlier, thread } = this.#conversation;
    const name = title || (id ? say("conversation") : say("new"));
    document.title = `${name} · Fairlead`;
    find("title").textContent = name;
    find("greeting").hidden = Boolean(id) || !thread.isEmpty;
    find("earlier").hidden = !hasEarlier;
    this.#list.current = id;
    this.#composer.busy = busy;
    this.#composer.model = this.#settings.value.model;
  }

  async #readEarlier() {
    await this.#conversation.loadEarlier((show) => this.#scroll.keep(show));
    this.#show();
  }

  async #keepSettings() {
    this.#composer.model = this.#settings.value.model;
    const conversation = this.#conversation;
    if (!conversation?.id) this.#notes.set("settings", this.#settings.value);
    else if (!this.#settings.problem) await this.#try(() => conversation.update(this.#settings.value));
  }

  #settingsOfNew() {
    const settings = this.#notes.get("settings") ?? DEFAULTS;
    return { ...settings, model: this.#settings.models.includes(settings.model) ? settings.model : "" };
  }

  #stopOn(event) {
    // Whatever is open above the page takes this Esc for itself.
    if (event.key === "Escape" && !document.querySelector(":popover-open, :modal")) this.#conversation?.stop();
  }

  async #try(action) {
    try {
      await action();
    } catch (error) {
      this.#problem.show(error, { retry: () => this.#try(action) });
    }
  }
}

/** The id of the conversation that the address leads to; empty for a new one. */
function idInAddress() {
  return location.hash.startsWith("#conv_") ? location.hash.slice(1) : "";
}

document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
write(document);
new Chat().start();
