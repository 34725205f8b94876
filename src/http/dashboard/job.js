// The page of one job: its status, and what belongs to it in modules of their own. The status is asked for when the
// stream says that the job has changed, a few times a second at most.

import { call, get, jobPath } from "./api.js";
import { histogram, keep } from "./charts.js";
import { byId, confirmed, el, hide, keyed, paced, soon, text } from "./dom.js";
import * as failures from "./failures.js";
import { brief, bytes, clock, count, duration, line, percent, rate } from "./format.js";
import { labelList, setBadge, setProgress } from "./jobs.js";
import { FINAL, live } from "./live.js";
import * as logs from "./logs.js";
import { endWorker, told } from "./overview.js";
import * as results from "./results.js";
import * as timeline from "./timeline.js";

const PARTS = [failures, results, logs, timeline];
const MOST_WORKERS = 200;

let id = null;
let job = null;
let problem = null;

/** Shows the job of this id. */
export function open(asked) {
  [id, job, problem] = [asked, null, null];
  text(byId("job-title"), "…");
  setBadge(byId("j-state"), "");
  byId("j-about").replaceChildren();
  keyed(byId("j-actions"), [], null);
  hide(byId("j-body"), true);
  hide(byId("j-problem"), true);
  for (const part of PARTS) part.open(asked);
  load();
}

/** It is shown no more. */
export function close() {
  id = null;
  load.stop();
  for (const part of PARTS) part.close();
}

/** A job has changed; without a name, any may have. */
export function changed(which = id) {
  if (which && which === id) load();
}

/** What runs is known by the pool. */
export function poolChanged() {
  if (job && !FINAL.has(job.state) && live.pool.workers.some((worker) => worker.job === id)) load();
}

export function forgotten(ids) {
  if (!ids.includes(id)) return;
  problem = { status: 404, message: "The job is forgotten." };
  soon(show);
}

const load = paced(400, async () => {
  const asked = id;
  if (!asked || document.hidden) return;
  try {
    const answer = await get(jobPath(asked));
    if (asked !== id) return;
    [job, problem] = [answer, null];
    for (const part of PARTS) part.changed(job);
  } catch (error) {
    if (asked !== id) return;
    problem = error;
  }
  soon(show);
});

function show() {
  if (!id) return;
  hide(byId("j-problem"), !problem);
  text(byId("j-problem"), problem?.message ?? "");
  if (problem?.status === 404) {
    job = null;
    text(byId("job-title"), "No such job");
    setBadge(byId("j-state"), "");
    keyed(byId("j-actions"), [], null);
  }
  hide(byId("j-body"), !job);
  if (!job) return;
  showHead();
  showProgress();
  showTimes();
  showWorkers();
}

function showHead() {
  const title = line(job.name ?? `${job.function} ${job.id.slice(-8)}`, 120);
  text(byId("job-title"), title);
  document.title = `${title} · gristmill`;
  setBadge(byId("j-state"), job.state);
  if (byId("j-about").childNodes.length === 0) {
    byId("j-about").append(el("b", { textContent: line(job.function, 60) }), el("code", { textContent: job.id }), labelList(job.labels) ?? "");
  }
  keyed(byId("j-actions"), actions(), ([verb]) => verb, makeAction, () => {});
  const failure = job.start_failure;
  hide(byId("j-start-failure"), !failure);
  if (failure) text(byId("j-start-failure"), `Its workers do not start (${failure.times} times): ${line(failure.message, 1000)}`);
}

/** What can be done with it now: a verb, what it does, and what to ask before. */
function actions() {
  if (FINAL.has(job.state)) {
    const retry = ["Retry failed", () => post("retry", "The failed tasks run again.")];
    const forget = ["Delete", remove, "danger"];
    return job.progress.failed > 0 ? [retry, forget] : [forget];
  }
  const possible = [];
  if (job.open) possible.push(["Close", () => post("close", "It takes no more inputs.")]);
  if (job.state === "paused") possible.push(["Resume", () => post("resume", "It goes on.")]);
  if (job.state === "queued" || job.state === "running") possible.push(["Pause", () => post("pause", "It is paused: what runs goes on, and no more begins.")]);
  if (job.state !== "cancelling") possible.push(["Cancel", cancel, "danger"]);
  return possible;
}

function makeAction([verb, act, kind = ""]) {
  return el("button", { type: "button", textContent: verb, className: kind, on: { click: act } });
}

async function post(verb, message) {
  const path = jobPath(id, `/${verb}`);
  await told(async () => {
    await call("POST", path);
    return message;
  });
  load();
}

async function cancel() {
  const left = count(job.progress.total - job.progress.done);
  if (await confirmed(`Cancel this job? What runs is stopped, and ${left} tasks are left undone.`, "Cancel the job")) {
    await post("cancel", "It is being cancelled.");
  }
}

async function remove() {
  const asked = id;
  if (!(await confirmed("Delete this job and all its results? Nothing brings them back.", "Delete it"))) return;
  // What is being deleted is not asked for any more.
  close();
  const isGone = await told(async () => {
    await call("DELETE", jobPath(asked));
    return "The job is forgotten.";
  });
  if (isGone) location.hash = "#/";
  else open(asked);
}

function figures() {
  const { progress, timings, options, state } = job;
  const isOver = FINAL.has(state);
  const granted = options.processes.granted;
  return [
    ["Done", `${brief(progress.done)} of ${brief(progress.total)}`, percent(progress.ratio)],
    ["Failed", count(progress.failed), progress.cancelled > 0 ? `${brief(progress.cancelled)} cancelled` : "", progress.failed > 0 ? "bad" : ""],
    ["Running", count(progress.running), `of ${granted} at once`],
    ["Rate", rate(progress.rate_per_s), "mean"],
    isOver ? ["Ended", timings.finished_at ? clock(timings.finished_at) : "–", ""] : ["Left", state === "paused" ? "–" : duration(progress.eta_ms), "at that rate"],
    ["Wall", duration(timings.wall_ms), `queued ${duration(timings.queued_ms)}`],
    ["CPU", duration(timings.cpu_ms), ""],
    ["Speed-up", timings.speedup == null ? "–" : `${timings.speedup.toFixed(2)} ×`, timings.efficiency == null ? "" : `${percent(timings.efficiency)} of ${granted}`],
  ];
}

function showProgress() {
  setProgress(byId("j-meter"), job.progress);
  const make = ([name]) => el("div", {}, el("dt", { textContent: name }), el("dd"), el("dd", { className: "soft" }));
  keyed(byId("j-figures"), figures(), ([name]) => name, make, (node, [, value, note, kind = ""]) => {
    text(node.children[1], value);
    node.children[1].className = kind;
    text(node.children[2], note);
  });
  text(byId("j-options"), optionWords());
}

function optionWords() {
  const { options, timings } = job;
  const words = [`submitted ${clock(timings.created_at)}`, `priority ${options.priority}`, `${options.max_attempts} attempts`, `${options.on_error} on error`];
  if (options.processes.requested) words.push(`${options.processes.requested} processes asked for`);
  if (options.timeout_ms) words.push(`timeout ${duration(options.timeout_ms)}`);
  if (options.retry_backoff_ms) words.push(`back-off ${duration(options.retry_backoff_ms)}`);
  if (options.chunk_size) words.push(`chunks of ${options.chunk_size}`);
  if (options.lock) words.push(`lock ${line(options.lock.name, 60)}`);
  if (job.open) words.push("open: it takes more inputs");
  return words.join(" · ");
}

function showTimes() {
  const times = job.timings.task_ms;
  const marks = ["p50", "p95", "p99"].filter((name) => times[name] != null).map((name) => [name, times[name]]);
  keep(byId("j-histogram"), () => histogram(byId("j-histogram"), job?.timings.task_ms.histogram ?? [], marks));
  const shown = ["min", "p50", "mean", "p95", "p99", "max"];
  const make = (name) => el("div", {}, el("dt", { textContent: name }), el("dd"));
  keyed(byId("j-times"), shown, (name) => name, make, (node, name) => text(node.lastChild, duration(times[name])));
}

function showWorkers() {
  const order = ["busy", "idle", "ending", "ended"];
  const workers = job.workers.toSorted((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  const shown = workers.slice(0, MOST_WORKERS);
  const running = new Map(job.running.map((task) => [task.pid, task]));
  hide(byId("j-workers-empty"), shown.length > 0);
  text(byId("j-workers-more"), workers.length > shown.length ? `${shown.length} of ${workers.length}` : "");
  const key = (worker) => `${worker.node} ${worker.name} ${worker.pid}`;
  keyed(byId("j-workers"), shown, key, makeWorker, (row, worker) => updateWorker(row, worker, running.get(worker.pid)));
}

function makeWorker({ name, pid, node }) {
  const end = el("button", { type: "button", className: "quiet", textContent: "End", aria: { label: `End ${name}` }, on: { click: () => endWorker({ name, pid }) } });
  const cells = ["n", "", "", "n", "n", "n wide", "n wide"].map((className) => el("td", { className }));
  const row = el("tr", {}, el("th", { scope: "row", textContent: name, title: `on ${line(node, 80)}` }), ...cells, el("td", {}, end));
  text(cells[0], String(pid));
  return row;
}

function updateWorker(row, worker, task) {
  const [, , state, at, tasks, busy, cpu, memory, end] = row.children;
  const isHere = worker.node === live.pool?.node;
  text(state, worker.state);
  text(at, task ? runWords(task) : "");
  text(tasks, count(worker.tasks));
  text(busy, duration(worker.busy_ms));
  text(cpu, duration(worker.cpu_ms));
  text(memory, bytes(worker.max_rss_bytes));
  row.classList.toggle("ended", worker.state === "ended");
  hide(end.firstChild, worker.state === "ended" || worker.state === "ending" || !isHere);
}

function runWords({ index, attempt, running_ms, progress }) {
  const again = attempt > 1 ? `, attempt ${attempt}` : "";
  const of = progress?.total ? `, ${percent(progress.done / progress.total)}` : progress ? `, ${brief(progress.done)}` : "";
  return `#${index}${again}${of}, ${duration(running_ms)}`;
}
