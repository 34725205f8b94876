// The newest results of a job, as they come: a window on the end of its queue.

import { download, get, jobPath } from "./api.js";
import { byId, el, hide, keyed, paced, soon, text } from "./dom.js";
import { count, duration, line } from "./format.js";
import { FINAL } from "./live.js";
import { told } from "./overview.js";

const SHOWN = 100;
/** When a page of results is as large as this, in characters, smaller ones are asked for. */
const LARGE = 400_000;
const MOST_CHARACTERS = 300;

let id = null;
let job = null;
let after = null;
let size = SHOWN;
let items = [];
let problem = null;

export function open(asked) {
  [id, job, after, size, items, problem] = [asked, null, null, SHOWN, [], null];
  byId("j-results-all").href = jobPath(asked, "/results");
  soon(show);
}

export function close() {
  id = null;
  load.stop();
}

export function changed(now) {
  const had = job;
  job = now;
  // The window moves on to the end of what there is.
  if (after == null || now.progress.done - after > 5 * SHOWN) after = Math.max(after ?? 0, now.progress.done - size);
  if (!had || had.progress.done !== now.progress.done || had.state !== now.state) load();
}

const load = paced(500, async () => {
  const [asked, from] = [id, after];
  if (!asked) return;
  try {
    const page = await get(jobPath(asked, `/results?after=${from}&limit=${size}`));
    if (asked !== id) return;
    if (JSON.stringify(page.items).length > LARGE) size = Math.max(5, size >> 1);
    problem = null;
    const fresh = page.items.map(({ seq, index, status, output, error, pid, duration_ms }) => {
      const shown = status === "succeeded" ? JSON.stringify(output) : `${error.verdict}: ${error.message}`;
      return { seq, index, status, shown: line(shown, MOST_CHARACTERS), pid, duration_ms };
    });
    items = [...fresh.reverse(), ...items].slice(0, SHOWN);
    after = items[0]?.seq ?? after;
    if (fresh.length === size) load();
  } catch (error) {
    problem = error;
    if (error.kind === "results-freed") after = job.progress.done;
  }
  soon(show);
});

function show() {
  keyed(byId("j-results"), items, (result) => result.seq, make, () => {});
  hide(byId("j-results-empty"), items.length > 0);
  text(byId("j-results-empty"), problem?.message ?? (job && FINAL.has(job.state) ? "There are none." : "None yet."));
  text(byId("j-results-note"), items.length > 0 ? `the newest ${count(items.length)}, newest first` : "");
}

function make({ seq, index, status, shown, pid, duration_ms }) {
  return el(
    "tr",
    { className: status },
    el("td", { className: "n", textContent: count(seq) }),
    el("td", { className: "n", textContent: `#${index}` }),
    el("td", { className: status === "succeeded" ? "value" : `value ${status === "failed" ? "bad" : "soft"}`, textContent: shown }),
    el("td", { className: "n wide", textContent: pid ?? "" }),
    el("td", { className: "n", textContent: duration_ms == null ? "" : duration(duration_ms) }),
  );
}

// A link that is followed sends no token.
byId("j-results-all").addEventListener("click", (event) => {
  event.preventDefault();
  const asked = id;
  told(() => download(jobPath(asked, "/results"), `${asked}.ndjson`));
});
