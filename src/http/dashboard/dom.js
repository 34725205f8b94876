// The page's elements. Text goes in as text, and nothing is ever parsed as HTML. Renders are put together: many wishes
// in one frame are one render, and none is done while the tab is hidden.

/** An element with these properties and children; `on` holds listeners, `aria` and `data` attributes of theirs. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  const { on = {}, aria = {}, data = {}, role, ...rest } = properties;
  Object.assign(node, rest);
  Object.assign(node.dataset, data);
  if (role) node.setAttribute("role", role);
  for (const [name, value] of Object.entries(aria)) node.setAttribute(`aria-${name}`, value);
  for (const [name, listener] of Object.entries(on)) node.addEventListener(name, listener);
  node.append(...children.filter((child) => child != null));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Sets it only if it is another one, so that nothing is laid out, and nothing read aloud, in vain. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

export function hide(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

const rowsOf = new WeakMap();

/** Makes the children of `parent` those of `items`, in order, and keeps the element of each key where it is. */
export function keyed(parent, items, key, make, update) {
  const before = rowsOf.get(parent) ?? new Map();
  const rows = new Map(items.map((item) => [key(item), item]));
  for (const [id, row] of before) {
    if (!rows.has(id)) row.remove();
  }
  let next = parent.firstChild;
  for (const [id, item] of rows) {
    const row = before.get(id) ?? make(item);
    rows.set(id, row);
    update(row, item);
    if (row === next) next = next.nextSibling;
    else parent.insertBefore(row, next);
  }
  rowsOf.set(parent, rows);
}

const wanted = new Set();
let frame = null;

/** Calls `render` in the next frame, once; while the tab is hidden, when it is seen again. */
export function soon(render) {
  wanted.add(render);
  if (!document.hidden) frame ??= requestAnimationFrame(renderAll);
}

function renderAll() {
  frame = null;
  const renders = [...wanted];
  wanted.clear();
  for (const render of renders) render();
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && wanted.size > 0) frame ??= requestAnimationFrame(renderAll);
});

/**
 * Does `work` now and when it is called again, but `gap` milliseconds apart and never twice at once. The last call is never
 * lost.
 */
export function paced(gap, work) {
  let last = -Infinity;
  let timer = null;
  let isBusy = false;
  let isAsked = false;
  const run = async () => {
    timer = null;
    last = performance.now();
    isBusy = true;
    await work();
    isBusy = false;
    if (isAsked) call();
  };
  const call = () => {
    isAsked = isBusy;
    if (isBusy || timer != null) return;
    const wait = last + gap - performance.now();
    if (wait <= 0) run();
    else timer = setTimeout(run, wait);
  };
  call.stop = () => {
    clearTimeout(timer);
    [timer, isAsked] = [null, false];
  };
  call.isBusy = () => isBusy;
  return call;
}

const said = byId("said");

/** Says the outcome of something that the user did, on the page and to a screen reader. */
export function say(message, isError = false) {
  said.className = isError ? "bad" : "";
  said.replaceChildren(el("p", { textContent: message }), el("button", { type: "button", textContent: "OK", on: { click: unsay } }));
  said.hidden = false;
  clearTimeout(say.timer);
  if (!isError) say.timer = setTimeout(unsay, 6000);
}

function unsay() {
  said.hidden = true;
  said.replaceChildren();
}

/** Resolves to whether the user says yes. The dialog keeps the focus, and Escape is a no. */
export function confirmed(question, verb) {
  const dialog = byId("confirm");
  text(byId("confirm-question"), question);
  text(byId("confirm-yes"), verb);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
