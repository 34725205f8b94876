// Starts the page: which part of it the address names, and what the stream of events is for.

import { askForToken, follow, get } from "./api.js";
import { colourOf } from "./colours.js";
import { byId, hide, text } from "./dom.js";
import { line } from "./format.js";
import * as job from "./job.js";
import * as jobs from "./jobs.js";
import * as feed from "./live.js";
import * as overview from "./overview.js";
import * as submit from "./submit.js";

const PAGES = ["overview", "job", "submit", "nowhere"];
let started = false;

function route() {
  const [path, query] = (location.hash.slice(1) || "/").split(/\?(.*)/s);
  const [, id] = path.match(/^\/jobs\/([^/]+)$/) ?? [];
  const page = id ? "job" : path === "/" ? "overview" : path === "/submit" ? "submit" : "nowhere";
  for (const name of PAGES) hide(byId(name), name !== page);
  for (const link of document.querySelectorAll("header nav a")) {
    if (link.dataset.page === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  job.close();
  if (page === "overview") {
    jobs.open(new URLSearchParams(query));
    overview.render();
  }
  if (page === "job") job.open(decode(id));
  if (page === "submit") submit.open(new URLSearchParams(query));
  title(page === "job" ? "job" : page === "submit" ? "submit" : "");
  // A new page is read from its top; the first one has the focus where the browser puts it.
  if (started && page !== "overview") byId("main").focus({ preventScroll: true });
  if (started && page !== "overview") scrollTo(0, 0);
  started = true;
}

function decode(id) {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}

function title(part) {
  document.title = part ? `${part} · gristmill` : "gristmill";
}

function link(state, words) {
  byId("link").dataset.state = state;
  text(byId("link").firstChild, words);
}

/** What was known before may be out of date. */
async function refresh() {
  try {
    const [{ items }] = await Promise.all([get("/v1/functions"), jobs.loadActive()]);
    // In this order, so that a function has the same colour on every screen.
    for (const { name } of items) colourOf(name);
    jobs.takeFunctions(items);
    submit.takeFunctions(items);
  } catch {
    // The stream says so too, and when it is back, this is done again.
  }
  jobs.reload();
  job.changed();
  overview.render();
}

const handlers = {
  open() {
    link("live", "live");
    feed.tick();
    feed.live.isOpen = true;
    refresh();
  },
  left() {
    feed.live.isOpen = false;
  },
  lost(problem) {
    feed.live.isOpen = false;
    link("lost", problem.status === 401 ? "no token" : "no connection");
  },
  pool(pool) {
    feed.takePool(pool);
    text(byId("node"), line(pool.node, 60));
    overview.render();
    job.poolChanged();
  },
  jobs({ items }) {
    overview.learnNames(items);
    feed.takeJobs(items);
    jobs.update(items);
    for (const changed of items) job.changed(changed.id);
    overview.render();
  },
  forgotten({ ids }) {
    feed.forget(ids);
    jobs.forget(ids);
    job.forgotten(ids);
    overview.render();
  },
  tasks(chunks) {
    feed.takeTasks(chunks);
    overview.render();
  },
};

overview.start();
jobs.start();
submit.start();
askForToken();
addEventListener("hashchange", route);
// The address names a page; the link is to a place on it.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
route();
follow("/v1/events", handlers);
