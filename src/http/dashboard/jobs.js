// The list of jobs: filtered and paged by the server, kept up to date by the stream.

import { get } from "./api.js";
import { byId, el, hide, keyed, paced, soon, text } from "./dom.js";
import { brief, clock, count, duration, line, percent, rate } from "./format.js";
import { FINAL, expectActive, takeActive } from "./live.js";
import { learnNames } from "./overview.js";

const PAGE = 25;
const MOST_ACTIVE = 1000;
const ACTIVE = ["queued", "running", "paused", "cancelling"];

let filter = new URLSearchParams();
let items = [];
let next = null;
let problem = null;

export function start() {
  byId("filter").addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
  byId("filter").addEventListener("change", (event) => event.target.tagName === "SELECT" && apply());
}

function apply() {
  const asked = new URLSearchParams();
  for (const [name, value] of new FormData(byId("filter"))) {
    if (value.trim()) asked.set(name, value.trim());
  }
  location.hash = asked.size > 0 ? `#/?${asked}` : "#/";
}

/** Shows the jobs that the address asks for. */
export function open(query) {
  filter = query;
  for (const name of ["state", "function", "label"]) {
    const field = byId("filter").elements[name];
    const value = filter.get(name) ?? "";
    if (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === value)) field.append(el("option", { textContent: value }));
    field.value = value;
  }
  reload();
}

/** What may be filtered by. */
export function takeFunctions(functions) {
  const field = byId("filter").elements.function;
  const known = new Set([...field.options].map((option) => option.value));
  for (const { name } of functions) {
    if (!known.has(name)) field.append(el("option", { value: name, textContent: line(name, 60) }));
  }
}

export const reload = paced(400, async () => {
  const asked = filter;
  const query = new URLSearchParams(filter);
  query.set("limit", PAGE);
  try {
    const page = await get(`/v1/jobs?${query}`);
    if (asked !== filter) return;
    [items, next, problem] = [page.items, page.next, null];
    learnNames(items);
  } catch (error) {
    if (asked !== filter) return;
    [items, next, problem] = [[], null, error];
  }
  soon(show);
});

/** The jobs that have not ended, for the figures. */
export async function loadActive() {
  expectActive();
  const pages = await Promise.all(ACTIVE.map((state) => get(`/v1/jobs?state=${state}&limit=${MOST_ACTIVE}`)));
  learnNames(pages.flatMap((page) => page.items));
  takeActive(pages.flatMap((page) => page.items), pages.some((page) => page.next));
}

const wanted = (job) => {
  const label = filter.get("label") ?? "";
  const at = label.indexOf("=");
  return (
    (!filter.get("state") || job.state === filter.get("state")) &&
    (!filter.get("function") || job.function === filter.get("function")) &&
    (!label || job.labels[label.slice(0, at)] === label.slice(at + 1))
  );
};

/** Jobs that are new or have changed: those of this page are shown as they are now, and new ones come first. */
export function update(changed) {
  // A list that is on its way may be older than this.
  if (reload.isBusy()) reload();
  const fresh = new Map(changed.map((job) => [job.id, job]));
  // One that is no longer as the filter wants has left; which job takes its place, the server knows.
  const kept = items.map((job) => fresh.get(job.id) ?? job).filter(wanted);
  if (kept.length < items.length) reload();
  kept.forEach((job) => fresh.delete(job.id));
  const come = filter.get("after") ? [] : [...fresh.values()].filter(wanted);
  const all = [...kept, ...come].sort((a, b) => (a.id < b.id ? 1 : -1));
  items = all.slice(0, PAGE);
  if (all.length > PAGE) next = items.at(-1).id;
  soon(show);
}

export function forget(ids) {
  const gone = new Set(ids);
  if (items.some((job) => gone.has(job.id))) reload();
}

function show() {
  if (byId("overview").hidden) return;
  keyed(byId("jobs"), items, (job) => job.id, makeJob, updateJob);
  const filtered = ["state", "function", "label"].some((name) => filter.get(name));
  hide(byId("jobs-empty"), items.length > 0);
  text(byId("jobs-empty"), problem ? problem.message : filtered ? "No job is like that." : "No job yet. Submit one, here or with curl.");
  const newest = new URLSearchParams(filter);
  newest.delete("after");
  const older = new URLSearchParams(newest);
  older.set("after", next);
  byId("newest").href = `#/?${newest}`;
  byId("older").href = `#/?${older}`;
  hide(byId("newest"), !filter.get("after"));
  hide(byId("older"), !next);
}

function makeJob(job) {
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, el("a", { href: `#/jobs/${job.id}` }), labelList(job.labels)),
    el("td", { textContent: line(job.function, 40) }),
    el("td", {}, badge()),
    el("td", { className: "progress" }, progressBar(), el("span", { className: "n" })),
    el("td", { className: "n" }),
    el("td", { className: "n" }),
    el("td", { className: "n wide" }),
    el("td", { className: "n" }),
    el("td", { className: "n wide" }),
    el("td", { className: "n wide", textContent: clock(job.timings.created_at) }),
  );
}

function updateJob(row, job) {
  const { progress, timings } = job;
  const [name, , state, bar, tasks, failed, speed, left, wall] = row.children;
  text(name.firstChild, line(job.name ?? job.id, 80));
  setBadge(state.firstChild, job.state);
  setProgress(bar.firstChild, progress);
  text(bar.lastChild, percent(progress.ratio));
  text(tasks, `${brief(progress.done)} of ${brief(progress.total)}`);
  text(failed, count(progress.failed));
  failed.classList.toggle("bad", progress.failed > 0);
  text(speed, rate(progress.rate_per_s));
  text(left, FINAL.has(job.state) || progress.eta_ms == null || job.state === "paused" ? "–" : duration(progress.eta_ms));
  text(wall, duration(timings.wall_ms));
}

export function labelList(labels) {
  const entries = Object.entries(labels);
  if (entries.length === 0) return null;
  const link = ([key, value]) => el("a", { className: "label", href: `#/?${new URLSearchParams({ label: `${key}=${value}` })}`, textContent: line(`${key}=${value}`, 60) });
  return el("span", { className: "labels" }, ...entries.slice(0, 8).map(link), entries.length > 8 ? `and ${entries.length - 8} more` : null);
}

export const badge = () => el("span", { className: "badge" });

export function setBadge(node, state) {
  node.dataset.state = state;
  text(node, state);
}

/** A bar of what succeeded, failed and was cancelled. */
export function progressBar() {
  const parts = ["ok", "bad", "off"].map((name) => el("i", { className: name }));
  return el("div", { className: "meter", role: "progressbar", aria: { valuemin: 0, valuemax: 100, label: "Progress" } }, ...parts);
}

export function setProgress(bar, { total, succeeded, failed, cancelled, ratio }) {
  const share = (tasks) => `${total > 0 ? (tasks / total) * 100 : 0}%`;
  [succeeded, failed, cancelled].forEach((tasks, at) => {
    bar.children[at].style.width = share(tasks);
  });
  bar.setAttribute("aria-valuenow", Math.floor(ratio * 100));
}
