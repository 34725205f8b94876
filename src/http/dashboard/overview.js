// The first page: key figures, the workers with their lanes, throughput and queue.

import { call } from "./api.js";
import { area, keep } from "./charts.js";
import { colourOf } from "./colours.js";
import { byId, confirmed, el, hide, keyed, paced, say, soon, text } from "./dom.js";
import { brief, bytes, clock, count, duration, line, percent, rate } from "./format.js";
import { SERIES_S, busyShare, currentRate, live, queued, tick } from "./live.js";
import { Stream } from "./stream.js";

/** So many lanes are shown, and so many names of colours; from so many lanes on they are low. */
const [MOST_LANES, MOST_NAMES, LOW_FROM] = [64, 12, 13];
const [LANE_PX, LOW_PX] = [42, 24];
const REPLACED_MS = 2000;

let stream = null;
let names = new Map();

export const jobName = (id) => names.get(id) ?? id.slice(-8);

/** The name that a job is called by on this page. */
export function learnNames(jobs) {
  if (names.size > 5000) names = new Map();
  for (const job of jobs) names.set(job.id, line(job.name ?? `${job.function} ${job.id.slice(-8)}`, 60));
}

export function start() {
  stream = new Stream(byId("stream"), byId("stream-head"));
  byId("window").addEventListener("change", setWindow);
  byId("colour").addEventListener("change", setColour);
  byId("resize").addEventListener("submit", resize);
  byId("chunks").addEventListener("toggle", () => soon(showLatest));
  followPointer(byId("stream"));
  // The series move on, and shares sink, when nothing happens too.
  setInterval(() => !document.hidden && render(), 1000);
}

function setWindow() {
  stream.windowMs = Number(byId("window").value) * 1000;
  soon(stream.draw);
  soon(showPool);
}

function setColour() {
  const byJob = byId("colour").value === "job";
  stream.name = byJob ? (run) => run.job : (run) => run.function;
  soon(stream.draw);
  soon(showPool);
}

export const render = paced(200, () => soon(show));

function show() {
  if (byId("overview").hidden || !live.pool) return;
  tick();
  showFigures();
  showPool();
  showLatest();
  keep(byId("rate-chart"), drawRate);
  keep(byId("queue-chart"), drawQueue);
}

function drawRate() {
  // The second that is not over would always be a dip.
  area(byId("rate-chart"), live.rate.subarray(0, SERIES_S - 1), live.failed.subarray(0, SERIES_S - 1), "Throughput in tasks a second");
}

function drawQueue() {
  area(byId("queue-chart"), live.queue, null, "Tasks without an outcome");
}

const peak = (series) => series.reduce((most, value) => (value > most ? value : most), 0);

function showFigures() {
  const { pool } = live;
  const more = live.activeMore ? "+" : "";
  text(byId("f-busy"), `${pool.busy} of ${pool.slots}`);
  text(byId("f-rate"), rate(currentRate()));
  text(byId("f-queue"), brief(queued()) + more);
  text(byId("f-jobs"), count(live.active.size) + more);
  const failed = live.failed.reduce((sum, n) => sum + n, 0);
  text(byId("f-failed"), brief(failed));
  byId("f-failed").className = failed > 0 ? "bad" : "";
  text(byId("rate-peak"), `at most ${rate(peak(live.rate))}`);
  text(byId("queue-peak"), `at most ${brief(peak(live.queue))}`);
}

function showPool() {
  const { pool } = live;
  if (!pool) return;
  text(byId("pool-why"), `${pool.slots} ${pool.slots === 1 ? "slot" : "slots"}: ${line(pool.slots_reason)}`);
  if (document.activeElement !== byId("slots")) byId("slots").value = pool.slots;
  showStartFailures(pool.start_failures);
  const workers = rowsOf(pool);
  const low = workers.length >= LOW_FROM;
  byId("lanes").classList.toggle("low", low);
  keyed(byId("workers"), workers.slice(0, MOST_LANES), (worker) => worker.name, makeWorker, updateWorker);
  hide(byId("pool-empty"), workers.length > 0);
  hide(byId("pool-more"), workers.length <= MOST_LANES);
  text(byId("pool-more"), `and ${workers.length - MOST_LANES} more workers`);
  stream.show(workers.slice(0, MOST_LANES).map((worker) => live.lanes.get(worker.name)), low ? LOW_PX : LANE_PX);
  describeStream(workers);
  showLegend();
}

/** The drawing in words; what each worker runs stands in the table. */
function describeStream(workers) {
  const shares = workers.slice(0, 8).map(({ name }) => `${name} ${percent(busyShare(live.lanes.get(name), stream.windowMs))}`);
  byId("stream").setAttribute("aria-label", `Task stream, the last ${stream.windowMs / 1000} seconds. Busy: ${shares.join(", ")}`);
}

/** The workers that are there, and those that ended while their work is still in the window. */
function rowsOf(pool) {
  const now = live.poolAt;
  const there = new Set(pool.workers.map((worker) => worker.name));
  const gone = [...live.lanes.values()].filter((lane) => !there.has(lane.name) && lane.worker && (lane.gone ?? 0) > now - stream.windowMs);
  // One that is being replaced is away for a moment only.
  const left = gone.map((lane) => ({ ...lane.worker, state: lane.gone > now - REPLACED_MS ? "being replaced" : "ended" }));
  const number = (worker) => Number(worker.name.replace(/\D+/g, ""));
  return [...pool.workers, ...left].sort((a, b) => number(a) - number(b));
}

function showStartFailures(failures) {
  const list = byId("start-failures");
  hide(list, failures.length === 0);
  keyed(list, failures.slice(0, 5), (failure) => failure.function, () => el("li"), (item, failure) => {
    text(item, `Workers of ${line(failure.function)} do not start (${failure.times} times): ${line(failure.message, 600)}`);
  });
}

function makeWorker(worker) {
  const end = el("button", { type: "button", className: "quiet", textContent: "End", aria: { label: `End ${worker.name}` }, on: { click: () => endWorker(row.worker) } });
  const row = el(
    "tr",
    {},
    el("th", { scope: "row" }, el("b"), el("span", { className: "pid" })),
    el("td", { className: "runs" }, el("b"), el("span", { className: "soft" })),
    el("td", { className: "stream" }),
    el("td", { className: "n" }),
    el("td", { className: "n wide" }),
    el("td", { className: "n wide" }),
    el("td", { className: "n wide" }),
    el("td", {}, end),
  );
  return row;
}

function updateWorker(row, worker) {
  row.worker = worker;
  const [name, runs, , busy, tasks, cpu, memory, end] = row.children;
  const ended = worker.state === "ended";
  row.classList.toggle("ended", ended);
  text(name.firstChild, worker.name);
  text(name.lastChild, worker.pid == null ? "starts" : `PID ${worker.pid}`);
  text(runs.firstChild, ended ? "ended" : line(worker.function, 40));
  text(runs.lastChild, doing(worker));
  const lane = live.lanes.get(worker.name);
  text(busy, ended || !lane ? "" : percent(busyShare(lane, Math.min(stream.windowMs, 10_000))));
  text(tasks, ended ? "" : brief(worker.tasks));
  text(cpu, ended ? "" : duration(worker.cpu_ms));
  text(memory, ended ? "" : bytes(worker.max_rss_bytes));
  hide(end.firstChild, ended);
}

function doing(worker) {
  if (worker.state === "ended") return "";
  if (worker.state !== "busy") return worker.state;
  const long = worker.running_ms >= 1000 ? `, ${duration(worker.running_ms)}` : "";
  const again = worker.attempt > 1 ? `, attempt ${worker.attempt}` : "";
  return `#${worker.index}${again}${long}`;
}

function showLegend() {
  const byJob = byId("colour").value === "job";
  const shown = [...stream.names()].slice(0, MOST_NAMES);
  keyed(byId("legend"), shown, (name) => `${byJob} ${name}`, (name) => makeKey(name, byJob), () => {});
}

function makeKey(name, byJob) {
  const label = byJob ? el("a", { href: `#/jobs/${name}`, textContent: jobName(name) }) : line(name, 40);
  return el("li", {}, el("i", { className: `swatch c${colourOf(name)}` }), label);
}

function showLatest() {
  if (!byId("chunks").open) return;
  keyed(byId("chunk-rows"), live.latest, (chunk) => chunk, makeChunk, () => {});
}

function makeChunk(chunk) {
  const ended = new Date(chunk.started_ms + chunk.duration_ms).toISOString();
  return el(
    "tr",
    {},
    el("td", { textContent: clock(ended) }),
    el("td", { textContent: `${chunk.worker} (PID ${chunk.pid})` }),
    el("td", { textContent: line(chunk.function, 40) }),
    el("td", {}, el("a", { href: `#/jobs/${chunk.job}`, textContent: jobName(chunk.job) })),
    el("td", { className: "n", textContent: count(chunk.count) }),
    el("td", { className: chunk.failed ? "n bad" : "n", textContent: count(chunk.failed) }),
    el("td", { className: "n", textContent: duration(chunk.duration_ms) }),
  );
}

function followPointer(canvas) {
  const words = byId("hovered");
  canvas.addEventListener("pointermove", (event) => {
    const found = stream.at(event.offsetX, event.offsetY);
    text(words, found ? `${found.lane.name}, PID ${found.pid ?? found.lane.pid}: ${line(found.function, 40)} ${found.words}, job ${jobName(found.job)}` : "");
    canvas.classList.toggle("link", found != null);
  });
  canvas.addEventListener("pointerleave", () => text(words, ""));
  canvas.addEventListener("click", (event) => {
    const found = stream.at(event.offsetX, event.offsetY);
    if (found) location.hash = `#/jobs/${found.job}`;
  });
}

async function resize(event) {
  event.preventDefault();
  const slots = Number(byId("slots").value);
  byId("slots").blur();
  await told(async () => {
    const pool = await call("PATCH", "/v1/pool", { body: JSON.stringify({ slots }) });
    return `The pool has ${pool.slots} ${pool.slots === 1 ? "slot" : "slots"}.`;
  });
}

export async function endWorker({ name, pid }) {
  const question = `End ${name} (PID ${pid})? It is replaced, and its task runs again free of charge.`;
  if (!(await confirmed(question, "End it"))) return;
  await told(async () => {
    await call("DELETE", `/v1/workers/${encodeURIComponent(pid ?? name)}`);
    return `${name} is being ended.`;
  });
}

/** Does it, and says what came of it. */
export async function told(work) {
  try {
    const message = await work();
    if (message) say(message);
    return true;
  } catch (error) {
    say(error.message, true);
    return false;
  }
}
