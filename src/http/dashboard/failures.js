// The failed tasks of a job, by verdict and message. They are read on from where they were read to, up to a bound.

import { get, jobPath } from "./api.js";
import { byId, el, hide, keyed, paced, soon, text } from "./dom.js";
import { count, line, visible } from "./format.js";

const PAGE = 1000;
const MOST_READ = 10_000;
/** So many messages of a verdict are told apart and shown, and so many tasks named for each. */
const [MOST_MESSAGES, MOST_NAMED] = [30, 12];

let id = null;
let total = 0;
/** The end of the job, if it has ended. */
let end = null;
let read = { after: 0, tasks: 0, verdicts: new Map() };
let problem = null;

export function open(job) {
  id = job;
  reset();
  soon(show);
  hide(byId("j-failures-panel"), true);
}

function reset() {
  [total, end, problem] = [0, null, null];
  read = { after: 0, tasks: 0, verdicts: new Map() };
}

export function close() {
  id = null;
  load.stop();
}

export function changed(job) {
  // Fewer than before, or another end: some run again, or have.
  const { finished_at: now } = job.timings;
  if (job.progress.failed < total || (end && now !== end)) reset();
  [total, end] = [job.progress.failed, now];
  if (total > read.tasks && read.tasks < MOST_READ) load();
  else soon(show);
}

const load = paced(1000, async () => {
  const [asked, mine] = [id, read];
  if (!asked) return;
  try {
    const page = await get(jobPath(asked, `/results?failed=true&after=${mine.after}&limit=${PAGE}`));
    if (asked !== id || mine !== read) return;
    page.items.forEach(take);
    mine.after = page.next ?? page.items.at(-1)?.seq ?? mine.after;
    problem = null;
    if (page.items.length === PAGE && mine.tasks < MOST_READ) load();
  } catch (error) {
    problem = error;
  }
  soon(show);
});

function take({ index, error }) {
  read.tasks += 1;
  const verdict = read.verdicts.get(error.verdict) ?? { tasks: 0, others: 0, messages: new Map() };
  read.verdicts.set(error.verdict, verdict);
  verdict.tasks += 1;
  const words = error.type ? `${error.type}: ${error.message}` : error.message;
  let message = verdict.messages.get(words);
  if (!message) {
    if (verdict.messages.size >= MOST_MESSAGES) return void (verdict.others += 1);
    verdict.messages.set(words, (message = { tasks: 0, named: [], stack: error.stack }));
  }
  message.tasks += 1;
  if (message.named.length < MOST_NAMED) message.named.push(index);
}

function show() {
  hide(byId("j-failures-panel"), total === 0);
  const note = read.tasks < total ? `the first ${count(read.tasks)} of ${count(total)}` : count(total);
  text(byId("j-failures-note"), problem ? problem.message : note);
  const verdicts = [...read.verdicts].sort(([, a], [, b]) => b.tasks - a.tasks);
  keyed(byId("j-failures"), verdicts, ([name]) => name, makeVerdict, updateVerdict);
}

function makeVerdict([name]) {
  const head = el("h3", {}, el("span", { className: "badge", textContent: line(name, 40), data: { state: "failed" } }), el("span", { className: "soft" }));
  return el("section", { className: "verdict" }, head, el("ul"), el("p", { className: "soft", hidden: true }));
}

function updateVerdict(node, [, verdict]) {
  const [head, list, others] = node.children;
  text(head.lastChild, verdict.tasks === 1 ? "1 task" : `${count(verdict.tasks)} tasks`);
  const messages = [...verdict.messages].sort(([, a], [, b]) => b.tasks - a.tasks);
  keyed(list, messages, ([words]) => words, makeMessage, updateMessage);
  hide(others, verdict.others === 0);
  text(others, `and ${count(verdict.others)} with other messages`);
}

function makeMessage([words, { stack }]) {
  const more = stack ? el("details", {}, el("summary", { textContent: "its last words" }), el("pre", { textContent: visible(stack, 8000) })) : null;
  return el("li", {}, el("p", { className: "message", textContent: visible(words, 1000) }), el("p", { className: "soft" }), more);
}

function updateMessage(node, [, { tasks, named }]) {
  const list = named.toSorted((a, b) => a - b).map((index) => `#${index}`).join(", ");
  text(node.children[1], tasks > named.length ? `${count(tasks)} tasks: ${list} …` : tasks === 1 ? `task ${list}` : `${count(tasks)} tasks: ${list}`);
}
