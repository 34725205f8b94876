// The timeline of a job as lanes, from the trace that Perfetto opens too.

import { download, get, jobPath } from "./api.js";
import { brush, colours, onColours } from "./colours.js";
import { byId, el, hide, keyed, paced, soon, text } from "./dom.js";
import { count, duration, line } from "./format.js";
import { told } from "./overview.js";

const [LANE_PX, AXIS_PX, MOST_LANES] = [26, 20, 64];
/** The trace is asked for so coarse that it has about so many events at most. */
const MOST_EVENTS = 5000;

let id = null;
let job = null;
/** The end of the job that was drawn last: one whose failed tasks run again has another. */
let drawn = null;
let lanes = [];
let span = [0, 1];

export function open(asked) {
  [id, job, drawn, lanes] = [asked, null, null, []];
  hide(byId("j-lanes"), true);
  text(byId("j-timeline-note"), "");
}

export function close() {
  id = null;
  draw.stop();
}

/** One that has ended is drawn, and a small one while it runs. */
export function changed(now) {
  job = now;
  const end = job.timings.finished_at;
  if (end ? drawn !== end : job.progress.total <= MOST_EVENTS && job.progress.done > 0) draw();
}

const draw = paced(2000, async () => {
  const asked = id;
  if (!asked) return;
  const end = job?.timings.finished_at;
  try {
    const trace = await get(jobPath(asked, `/timeline?limit=${MOST_EVENTS}`));
    if (asked !== id) return;
    drawn = end;
    take(trace.traceEvents);
  } catch (error) {
    if (asked === id) text(byId("j-timeline-note"), error.message);
  }
});

/** A lane has the processes of one name, which follow each other. */
function take(events) {
  const names = new Map();
  for (const { ph, name, pid, tid, args } of events) {
    if (ph === "M" && name === "thread_name") names.set(`${pid} ${tid}`, args.name.replace(/ \(.*\)$/, ""));
  }
  const byName = new Map();
  let [from, to] = [Infinity, -Infinity];
  for (const event of events) {
    if (event.ph !== "X") continue;
    const name = names.get(`${event.pid} ${event.tid}`) ?? String(event.tid);
    if (!byName.has(name)) byName.set(name, []);
    byName.get(name).push(event);
    from = Math.min(from, event.ts);
    to = Math.max(to, event.ts + event.dur);
  }
  lanes = [...byName].map(([name, runs]) => ({ name, runs }));
  lanes.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  span = [from, Math.max(to, from + 1)];
  soon(show);
}

function show() {
  if (!id) return;
  hide(byId("j-lanes"), lanes.length === 0);
  const runs = lanes.reduce((sum, lane) => sum + lane.runs.length, 0);
  const more = lanes.length > MOST_LANES ? `, the first ${MOST_LANES} of ${lanes.length} lanes` : "";
  text(byId("j-timeline-note"), lanes.length > 0 ? `${count(runs)} runs in ${duration((span[1] - span[0]) / 1e3)}${more}` : "nothing has run yet");
  const shown = lanes.slice(0, MOST_LANES);
  keyed(byId("j-lane-names"), shown, (lane) => lane.name, ({ name }) => el("li", { textContent: line(name, 60) }), () => {});
  paint();
}

function paint() {
  const canvas = byId("j-timeline");
  const shown = lanes.slice(0, MOST_LANES);
  const height = shown.length * LANE_PX + AXIS_PX;
  canvas.style.height = `${height}px`;
  const width = canvas.clientWidth;
  if (width < 10) return;
  const palette = colours();
  const pen = brush(canvas, width, height);
  const x = (ts) => ((ts - span[0]) / (span[1] - span[0])) * width;
  shown.forEach((lane, at) => {
    const y = at * LANE_PX + 3;
    pen.fillStyle = palette.lane;
    pen.fillRect(0, y, width, LANE_PX - 6);
    for (const run of lane.runs) paintRun(pen, palette, run, x, y);
  });
  drawTimes(pen, palette, width, shown.length * LANE_PX);
  canvas.setAttribute("aria-label", `Timeline: ${byId("j-timeline-note").textContent}`);
}

function paintRun(pen, palette, run, x, y) {
  const width = Math.max(1, x(run.ts + run.dur) - x(run.ts) - 0.6);
  pen.fillStyle = run.cat === "failed" ? palette.bad : palette.names[0];
  pen.globalAlpha = run.cat === "running" ? 0.55 : 1;
  pen.fillRect(x(run.ts), y, width, LANE_PX - 6);
  pen.globalAlpha = 1;
  pen.fillStyle = palette.panel;
  if (run.cat === "failed") pen.fillRect(x(run.ts), y + (LANE_PX - 6) / 2 - 1, width, 2);
}

function drawTimes(pen, palette, width, top) {
  pen.font = `11px ${palette.font}`;
  pen.fillStyle = palette.soft;
  pen.textBaseline = "top";
  const parts = width < 500 ? 3 : 6;
  for (let at = 0; at <= parts; at += 1) {
    pen.textAlign = at === 0 ? "left" : at === parts ? "right" : "center";
    pen.fillText(at === 0 ? "0" : duration(((span[1] - span[0]) / 1e3) * (at / parts)), (width * at) / parts, top + 5);
  }
}

byId("j-draw").addEventListener("click", draw);
byId("j-trace").addEventListener("click", () => {
  const asked = id;
  told(() => download(jobPath(asked, "/timeline"), `${asked}.trace.json`));
});
new ResizeObserver(() => lanes.length > 0 && soon(paint)).observe(byId("j-timeline"));
onColours(() => soon(paint));
