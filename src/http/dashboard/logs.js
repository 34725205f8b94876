// What a job's tasks printed: the newest of it.

import { get, jobPath } from "./api.js";
import { byId, el, hide, keyed, paced, soon, text } from "./dom.js";
import { bytes, clock, line, visible } from "./format.js";
import { FINAL } from "./live.js";

const [PAGE, SHOWN] = [2000, 400];

let id = null;
let state = null;
let of = "";
let after = 0;
let entries = [];
let dropped = 0;
let problem = null;
let load_of = 0;

export function open(asked) {
  [id, state, of] = [asked, null, ""];
  byId("j-logs-index").value = "";
  reset();
}

function reset() {
  [after, entries, dropped, problem] = [0, [], 0, null];
  load_of += 1;
  soon(show);
}

export function close() {
  id = null;
  load.stop();
}

export function changed(job) {
  // One that has ended prints no more, once its last words have been read.
  if (state && FINAL.has(state) && state === job.state) return;
  state = job.state;
  load();
}

const load = paced(1000, async () => {
  const [asked, mine] = [id, load_of];
  if (!asked) return;
  try {
    const page = await get(jobPath(asked, `/logs?after=${after}&limit=${PAGE}${of === "" ? "" : `&index=${of}`}`));
    if (asked !== id || mine !== load_of) return;
    [dropped, problem] = [page.dropped_bytes, null];
    entries = [...entries, ...page.items].slice(-SHOWN);
    after = page.items.at(-1)?.seq ?? after;
    if (page.next != null) load();
  } catch (error) {
    if (asked !== id || mine !== load_of) return;
    problem = error;
  }
  soon(show);
});

function show() {
  const box = byId("j-logs-box");
  const isAtEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
  keyed(byId("j-logs"), entries, (entry) => entry.seq, make, () => {});
  hide(byId("j-logs-empty"), entries.length > 0);
  text(byId("j-logs-empty"), problem?.message ?? "Nothing was printed.");
  const newest = entries.length === SHOWN ? `the newest ${SHOWN}` : "";
  text(byId("j-logs-note"), dropped > 0 ? `${newest} ${bytes(dropped)} of the oldest are gone` : newest);
  if (isAtEnd) box.scrollTop = box.scrollHeight;
}

function make(entry) {
  const where = `${clock(entry.at)} #${entry.index} ${entry.worker} PID ${entry.pid} ${line(entry.stream, 20)}`;
  const lost = entry.dropped_bytes ? el("span", { className: "bad", textContent: `${bytes(entry.dropped_bytes)} dropped here` }) : null;
  return el("li", {}, el("span", { className: "soft", textContent: where }), lost, el("pre", { textContent: visible(entry.text, 8000) }));
}

byId("j-logs-filter").addEventListener("submit", (event) => {
  event.preventDefault();
  of = byId("j-logs-index").value;
  reset();
  load();
});
