// The way to the server: calls with the token, problems as errors, and the one stream of events. The token is kept until
// the tab is closed.

import { byId, hide } from "./dom.js";

const TOKEN = "gristmill-token";
/** How long to wait before the stream is opened again, in milliseconds: at first, and at most. */
const [FIRST_WAIT, MOST_WAIT] = [500, 10_000];
/** A stream that is silent for so long is dead: there is something every ten seconds, if only a comment. */
const SILENCE = 30_000;

/** What went wrong, in the server's words. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? `the answer has the status ${status}`);
    Object.assign(this, { status, kind: (body.type ?? "").replace("urn:gristmill:problem:", "") });
  }
}

function headers(more = {}) {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

async function request(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "the server does not answer" });
  }
  if (answer.ok) return answer;
  const problem = new Problem(answer.status, await answer.json().catch(() => ({})));
  if (answer.status === 401) ask(problem);
  throw problem;
}

/** A call; gives its JSON, if there is any. */
export async function call(method, path, { body, type = "application/json", accept = "application/json" } = {}) {
  const options = { method, body, headers: { Accept: accept } };
  if (body !== undefined) options.headers["Content-Type"] = type;
  const answer = await request(path, options);
  return answer.headers.get("content-type")?.startsWith("application/json") ? answer.json() : null;
}

export const get = (path) => call("GET", path);

/** A file of the server's, with the token, as a download. */
export async function download(path, name) {
  const answer = await request(path, { method: "GET" });
  const url = URL.createObjectURL(await answer.blob());
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export const jobPath = (id, what = "") => `/v1/jobs/${encodeURIComponent(id)}${what}`;

let given = null;

function ask(problem) {
  const form = byId("ask");
  byId("ask-why").textContent = sessionStorage.getItem(TOKEN) ? problem.message : "This server wants a token.";
  if (!form.hidden) return;
  hide(form, false);
  byId("token").focus();
}

/** Sees to the form for the token. */
export function askForToken() {
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("token");
    sessionStorage.setItem(TOKEN, field.value.trim());
    field.value = "";
    hide(byId("ask"), true);
    given?.();
  });
}

const pause = (ms) => new Promise((wake) => setTimeout(wake, ms));
const shown = () =>
  new Promise((resolve) => {
    if (!document.hidden) return resolve();
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
  });

/**
 * Follows the server's events for ever, but only while the tab is seen. `handlers` has a function for each event, `open`
 * for when what came before is out of date, `left` for when the tab is hidden, and `lost` for when the stream is cut.
 */
export async function follow(path, handlers) {
  let wait = FIRST_WAIT;
  for (;;) {
    await shown();
    try {
      await read(path, handlers, () => (wait = FIRST_WAIT));
      handlers.left();
    } catch (problem) {
      handlers.lost(problem);
      if (problem.status === 401) {
        await new Promise((resolve) => (given = resolve));
        continue;
      }
      await pause(wait);
      wait = Math.min(2 * wait, MOST_WAIT);
    }
  }
}

async function read(path, handlers, came) {
  const abort = new AbortController();
  const onHide = () => document.hidden && abort.abort();
  document.addEventListener("visibilitychange", onHide);
  let silence = null;
  const alive = () => {
    clearTimeout(silence);
    silence = setTimeout(() => abort.abort(), SILENCE);
  };
  try {
    const answer = await request(path, { method: "GET", headers: { Accept: "text/event-stream" }, signal: abort.signal });
    handlers.open();
    for await (const [event, data] of messages(answer.body, alive)) {
      came();
      handlers[event]?.(JSON.parse(data));
    }
    throw new Problem(0, { detail: "the server has ended the stream" });
  } catch (error) {
    if (document.hidden) return;
    throw error instanceof Problem ? error : new Problem(0, { detail: "the stream from the server is cut" });
  } finally {
    clearTimeout(silence);
    abort.abort();
    document.removeEventListener("visibilitychange", onHide);
  }
}

/** The messages of a stream of server-sent events: pairs of event and data. */
async function* messages(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let [rest, event, data] = ["", "message", []];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const raw of lines) {
      const [field, content] = field_of(raw.endsWith("\r") ? raw.slice(0, -1) : raw);
      if (field === "event") event = content;
      else if (field === "data") data.push(content);
      else if (field === "") {
        if (data.length > 0) yield [event, data.join("\n")];
        [event, data] = ["message", []];
      }
    }
  }
}

function field_of(raw) {
  if (raw === "") return ["", ""];
  const colon = raw.indexOf(":");
  if (colon < 0) return [raw, ""];
  // A comment has no name, and must not be taken for the end of a message.
  return [colon === 0 ? ":" : raw.slice(0, colon), raw.slice(colon + 1).replace(/^ /, "")];
}
