// The gateway's public API, as fetch sees it. The objects are OpenAI's.

import { say } from "./strings.js";

/** An answer that is an error, or no answer. `status` is 0 where the server could not be reached. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = null, requestId = "" } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
  }
}

export class Api {
  #key;

  /** `key` has the `value` to send; `key.ask(value)` tells whether there is another one than `value` to try. */
  constructor(key) {
    this.#key = key;
  }

  get(path) {
    return this.#json("GET", path);
  }

  post(path, body) {
    return this.#json("POST", path, body);
  }

  delete(path) {
    return this.#json("DELETE", path);
  }

  /** The events of a streamed response, one by one. Throws an ApiError also where the stream says that it failed. */
  async *stream(path, body, signal) {
    const answer = await this.#send("POST", path, { ...body, stream: true }, signal);
    let ended = false;
    for await (const data of readEvents(answer)) {
      if (data === "[DONE]") break;
      const event = JSON.parse(data);
      if (event.error && !event.type) {
        throw new ApiError(event.error.message, { status: 200, code: event.error.code, requestId: requestIdOf(answer) });
      }
      ended = /^response\.(completed|incomplete)$/.test(event.type);
      yield event;
    }
    if (!ended) throw new ApiError(say("unreachable_detail"), { status: 200, requestId: requestIdOf(answer) });
  }

  async #json(method, path, body) {
    return (await this.#send(method, path, body)).json();
  }

  async #send(method, path, body, signal) {
    for (;;) {
      const key = this.#key.value;
      const headers = { accept: "application/json, text/event-stream" };
      if (body !== undefined) headers["content-type"] = "application/json";
      if (key) headers.authorization = `Bearer ${key}`;
      const answer = await reach(path, { method, headers, signal, body: body && JSON.stringify(body) });
      if (answer.ok) return answer;
      const error = await errorOf(answer);
      if (error.status !== 401 || !(await this.#key.ask(key))) throw error;
    }
  }
}

async function reach(path, request) {
  try {
    // Relative to the page, which may be served below a path.
    return await fetch(new URL(path, document.baseURI), request);
  } catch (error) {
    throw error.name === "AbortError" ? error : new ApiError(say("unreachable_detail"));
  }
}

async function errorOf(answer) {
  const body = await answer.json().catch(() => ({})); // a proxy on the way answers in HTML
  const { message = answer.statusText, code = null } = body.error ?? {};
  return new ApiError(message, { status: answer.status, code, requestId: requestIdOf(answer) });
}

function requestIdOf(answer) {
  return answer.headers.get("x-request-id") ?? "";
}

/** The data of every server-sent event. */
async function* readEvents(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const data = event.split("\n").filter((line) => line.startsWith("data:"));
        if (data.length) yield data.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } catch (error) {
    throw error.name === "AbortError" ? error : new ApiError(say("unreachable_detail"), { status: 200 });
  } finally {
    reader.cancel().catch(() => {}); // it is at its end, or broken, anyway
  }
}
