// Reads /openapi.json to people.

import { element, json, line, prose } from "./dom.js";
import { bounds, example, members, named, resolve, type } from "./schema.js";
import { token, tryOut } from "./try.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

function parameters(document, operation) {
  if (!operation.parameters?.length) return null;
  const rows = operation.parameters.map((parameter) => element("tr", {},
    element("td", {}, element("code", {}, parameter.name), parameter.required ? element("b", { title: "required" }, " *") : null,
      element("small", {}, ` ${parameter.in}`)),
    element("td", {}, type(parameter.schema), bounds(parameter.schema)),
    element("td", {}, line(parameter.description))));
  return [element("h4", {}, "Parameters"), element("table", { className: "members" }, element("tbody", {}, rows))];
}

function bodies(document, content = {}) {
  return Object.entries(content).map(([media, of]) => {
    const shown = example(document, of);
    const isLink = of.schema?.$ref || of.schema?.contentSchema;
    return element("div", { className: "body" },
      element("p", {}, element("code", {}, media), " ", type(of.schema)),
      isLink ? null : members(document, of.schema),
      shown === undefined ? null : element("pre", {}, json(shown)));
  });
}

function answers(document, operation) {
  const each = Object.entries(operation.responses).map(([status, response]) => {
    const answer = resolve(document, response);
    const isError = status >= "400";
    const headers = Object.entries(answer.headers ?? {}).map(([name, header]) =>
      element("p", {}, element("code", {}, name), " ", line(header.description)));
    return element("tr", { className: isError ? "error" : "" }, element("td", {}, element("b", {}, status)),
      element("td", {}, prose(answer.description), headers, isError ? null : bodies(document, answer.content)));
  });
  return [element("h4", {}, "Answers"), element("table", { className: "answers" }, element("tbody", {}, each))];
}

function article(document, method, path, operation) {
  const body = operation.requestBody;
  return element("details", { id: operation.operationId, className: "operation" },
    element("summary", {}, element("b", { className: method }, method.toUpperCase()), " ", element("code", {}, path), " ",
      element("span", {}, operation.summary)),
    prose(operation.description),
    parameters(document, operation),
    body ? [element("h4", {}, "Body"), bodies(document, body.content)] : null,
    tryOut(document, method, path, operation),
    answers(document, operation));
}

function operations(document) {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, operation: item[method] })));
}

function read(document) {
  window.document.getElementById("version").textContent = document.info.version;
  const all = operations(document);
  const tags = document.tags.map((tag) => ({ ...tag, has: all.filter(({ operation }) => operation.tags.includes(tag.name)) }));
  window.document.getElementById("main").replaceChildren(
    ...prose(document.info.description),
    ...tags.flatMap(({ name, description, has }) => [
      element("h2", { id: `tag-${name}` }, name), ...prose(description),
      ...has.map(({ method, path, operation }) => article(document, method, path, operation))]),
    element("h2", { id: "schemas" }, "schemas"),
    ...Object.entries(document.components.schemas).map(([name, schema]) => named(document, name, schema)));
  window.document.getElementById("contents").replaceChildren(...tags.map(({ name, has }) => element("section", {},
    element("a", { href: `#tag-${name}`, className: "tag" }, name),
    element("ul", {}, has.map(({ method, path, operation }) => element("li", { title: `${method.toUpperCase()} ${path}` },
      element("a", { href: `#${operation.operationId}` }, operation.operationId)))))));
}

// Opens what the address names.
function open() {
  const named = window.document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) named.open = true;
  named?.scrollIntoView();
}

function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const item of window.document.querySelectorAll("nav li")) {
    const said = `${item.title} ${item.textContent}`.toLowerCase();
    item.hidden = !words.every((word) => said.includes(word));
  }
}

const field = window.document.getElementById("token");
field.value = token.get();
field.form.addEventListener("submit", (event) => event.preventDefault());
field.addEventListener("input", () => {
  token.set(field.value.trim());
  dispatchEvent(new Event("token"));
});
window.document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value));
addEventListener("hashchange", open);

try {
  read(await (await fetch("/openapi.json")).json());
  open();
} catch (error) {
  window.document.getElementById("main").textContent = `no answer: ${error.message}`;
}
