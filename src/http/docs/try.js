// A form that calls an operation, and the curl line that does the same.

import { element, json } from "./dom.js";
import { example, resolve } from "./schema.js";

const TOKEN = "gristmill-token";
// So much of an answer is shown.
const MOST = 200_000;

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => sessionStorage.setItem(TOKEN, value),
};

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// The request that the form says.
function request({ method, path, fields, body, media }) {
  const query = new URLSearchParams();
  const headers = {};
  let filled = path;
  for (const { parameter, input } of fields) {
    const value = input.value.trim();
    if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(value || `{${parameter.name}}`));
    else if (value && parameter.in === "header") headers[parameter.name] = value;
    else if (value) value.split("\n").forEach((one) => query.append(parameter.name, one));
  }
  const text = body?.value || undefined;
  if (text !== undefined) headers["Content-Type"] = media.value;
  const search = query.size ? `?${query}` : "";
  return { method: method.toUpperCase(), url: filled + search, headers, body: text };
}

function curl({ method, url, headers, body }) {
  const parts = ["curl -sS"];
  if (method !== "GET" || body !== undefined) parts.push(`-X ${method}`);
  if (token.get()) parts.push('-H "Authorization: Bearer $GRISTMILL_TOKEN"');
  Object.entries(headers).forEach(([name, value]) => parts.push(`-H ${quoted(`${name}: ${value}`)}`));
  if (body !== undefined) parts.push(`--data-binary ${quoted(body)}`);
  return [...parts, quoted(location.origin + url)].join(" ");
}

// Shows an answer as it comes, until its end or the signal.
async function send({ method, url, headers, body }, output, signal) {
  const permitted = token.get() ? { ...headers, Authorization: `Bearer ${token.get()}` } : headers;
  const answer = await fetch(url, { method, headers: permitted, body, signal });
  const told = ["content-type", "location", "retry-after", "gristmill-job"].filter((name) => answer.headers.has(name));
  output.textContent = [`${answer.status} ${answer.statusText}`, ...told.map((name) => `${name}: ${answer.headers.get(name)}`), "", ""].join("\n");
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let piece = await reader?.read(); piece && !piece.done; piece = await reader.read()) {
    text += piece.value;
    output.append(piece.value);
    if (text.length > MOST) {
      output.append("\n… there is more");
      return reader.cancel();
    }
  }
  if (answer.headers.get("content-type")?.endsWith("json") && !answer.headers.get("content-type").includes("ndjson")) {
    output.lastChild.remove();
    output.textContent = output.textContent.split("\n\n")[0] + "\n\n" + JSON.stringify(JSON.parse(text), null, 2);
  }
}

function field(document, parameter) {
  const schema = resolve(document, parameter.schema) ?? {};
  const hint = parameter.example ?? schema.examples?.[0] ?? schema.items?.examples?.[0] ?? "";
  const isText = schema.type === "array";
  const input = element(isText ? "textarea" : "input", { placeholder: String(hint), required: parameter.in === "path" });
  if (isText) Object.assign(input, { rows: 1, title: "one a line" });
  if (parameter.in === "path" && parameter.example) input.value = parameter.example;
  return { parameter, input, label: element("label", {}, parameter.name, input) };
}

function bodyFields(document, operation) {
  const content = Object.entries(operation.requestBody?.content ?? {});
  if (!content.length) return {};
  const media = element("select", { ariaLabel: "Media type" }, content.map(([name]) => element("option", {}, name)));
  const body = element("textarea", { rows: 5, spellcheck: false, ariaLabel: "Body" });
  const fill = () => { body.value = json(example(document, Object.fromEntries(content)[media.value]) ?? ""); };
  media.addEventListener("change", fill);
  fill();
  return { media, body };
}

export function tryOut(document, method, path, operation) {
  const fields = (operation.parameters ?? []).map((parameter) => field(document, parameter));
  const { media, body } = bodyFields(document, operation);
  const line = element("pre", { className: "curl" });
  const output = element("pre", { className: "answer", hidden: true, tabIndex: 0, role: "log" });
  const call = element("button", {}, "Send");
  const stop = element("button", { type: "button", hidden: true }, "Stop");
  const said = () => request({ method, path, fields, body, media });
  const form = element("form", { className: "try" }, fields.map(({ label }) => label), media, body, call, stop);
  const show = () => { line.textContent = curl(said()); };
  form.addEventListener("input", show);
  form.addEventListener("change", show);
  addEventListener("token", show);
  let running;
  stop.addEventListener("click", () => running?.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    running = new AbortController();
    [output.hidden, stop.hidden, call.disabled, output.textContent] = [false, false, true, "…"];
    await send(said(), output, running.signal).catch((error) => output.append(`\n${error.message}`));
    [stop.hidden, call.disabled] = [true, false];
  });
  show();
  return [line, element("details", { className: "out" }, element("summary", {}, "Try it"), form, output)];
}
