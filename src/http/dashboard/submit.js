// The form that submits a job. Inputs go as they were written: no number is rounded on its way through this page.

import { call } from "./api.js";
import { byId, el, hide, keyed, text } from "./dom.js";
import { line, visible } from "./format.js";

const NUMBERS = ["processes", "priority", "max_attempts", "chunk_size"];
const TEXTS = ["function", "name", "timeout", "retry_backoff", "on_error", "lock"];

let functions = [];

export function start() {
  byId("s-function").addEventListener("change", showFunction);
  byId("s-example").addEventListener("click", putExample);
  byId("s-file").addEventListener("change", () => {
    byId("s-inputs").disabled = byId("s-file").files.length > 0;
  });
  byId("s-form").addEventListener("submit", submit);
}

export function open(query) {
  text(byId("s-sending"), "");
  hide(byId("s-problem"), true);
  const asked = query.get("function");
  if (functions.some(({ name }) => name === asked)) byId("s-function").value = asked;
  showFunction();
}

export function takeFunctions(known) {
  const chosen = byId("s-function").value;
  functions = known;
  const make = ({ name }) => el("option", { value: name, textContent: line(name, 80) });
  keyed(byId("s-function"), known, ({ name }) => name, make, () => {});
  if (known.some(({ name }) => name === chosen)) byId("s-function").value = chosen;
  showFunction();
}

const chosen = () => functions.find(({ name }) => name === byId("s-function").value);

function showFunction() {
  const called = chosen();
  hide(byId("s-about"), !called);
  if (!called) return;
  const { description, mode, input, output, example, input_schema: schema } = called;
  text(byId("s-description"), visible(`${description} (${mode})`, 1000));
  const shapes = [["input", input], ["output", output], ["for example", example && `${JSON.stringify(example.input)} → ${JSON.stringify(example.output)}`]];
  byId("s-shapes").replaceChildren(
    ...shapes.filter(([, words]) => words).map(([name, words]) => el("div", {}, el("dt", { textContent: name }), el("dd", { textContent: line(words, 600) }))),
  );
  hide(byId("s-schema"), !schema);
  text(byId("s-schema-text"), schema ? visible(JSON.stringify(schema, null, 1), 20_000) : "");
  byId("s-example").disabled = !example;
}

function putExample() {
  const field = byId("s-inputs");
  byId("s-file").value = "";
  field.disabled = false;
  field.value = `${field.value.trim() ? `${field.value.trimEnd()}\n` : ""}${JSON.stringify(chosen().example.input)}\n`;
  field.focus();
}

/** The options that are filled in: pairs of a name and a value. */
function options(form) {
  const filled = [];
  for (const [name, value] of new FormData(form)) {
    if (value instanceof File || value.trim() === "") continue;
    if (name === "labels") filled.push(...labels(value).map((label) => ["label", label]));
    else filled.push([name, value.trim()]);
  }
  return filled;
}

function labels(words) {
  const all = words.split(",").map((label) => label.trim()).filter(Boolean);
  const wrong = all.find((label) => !label.includes("="));
  if (wrong) throw new Error(`a label is ${JSON.stringify(wrong)}; write it key=value`);
  return all;
}

/** The body, its type and the path of the submit. A file of lines is sent without being read here. */
async function request(form) {
  const filled = options(form);
  let [file] = byId("s-file").files;
  let written = byId("s-inputs").value.trim();
  if (file?.name.endsWith(".json")) [written, file] = [(await file.text()).trim(), null];
  if (file || !written.startsWith("[") || !isJson(written)) {
    return { path: `/v1/jobs?${new URLSearchParams(filled)}`, type: "application/x-ndjson", body: file ?? written };
  }
  return { path: "/v1/jobs", type: "application/json", body: `{"inputs":${written},${JSON.stringify(asObject(filled)).slice(1)}` };
}

function isJson(written) {
  try {
    JSON.parse(written);
    return true;
  } catch {
    // Lines of arrays are no JSON as a whole, but one value a line.
    if (written.split("\n").every((row) => row.trim().startsWith("["))) return false;
    return true;
  }
}

function asObject(filled) {
  const body = {};
  for (const [name, value] of filled) {
    if (name === "label") {
      const at = value.indexOf("=");
      (body.labels ??= {})[value.slice(0, at)] = value.slice(at + 1);
    } else if (NUMBERS.includes(name)) body[name] = Number(value);
    else if (name === "open") body.open = true;
    else if (TEXTS.includes(name)) body[name] = value;
  }
  return body;
}

async function submit(event) {
  event.preventDefault();
  const [form, button, problem] = [byId("s-form"), byId("s-submit"), byId("s-problem")];
  hide(problem, true);
  button.disabled = true;
  text(byId("s-sending"), "sending …");
  try {
    const { path, type, body } = await request(form);
    const job = await call("POST", path, { type, body });
    form.reset();
    byId("s-inputs").disabled = false;
    location.hash = `#/jobs/${job.id}`;
  } catch (error) {
    text(problem, error.message);
    hide(problem, false);
  } finally {
    button.disabled = false;
    text(byId("s-sending"), "");
  }
}
