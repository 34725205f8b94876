// The timeline of a job as lanes, from the trace that Perfetto opens too.

import { download, get, jobPath } from "./api.js";
import { brush, colours, onColours } from "./colours.js";
import { byId, el, hide, keyed, soon, text } from "./dom.js";
import { count, duration, line } from "./format.js";
import { FINAL } from "./live.js";
import { told } from "./overview.js";

const [LANE_PX, AXIS_PX, MOST_LANES] = [26, 20, 64];
/** A job of so few tasks is drawn without being asked for. */
const SMALL = 5000;

let id = null;
let drawnState = null;
let lanes = [];
let span = [0, 1];

export function open(asked) {
  [id, drawnState, lanes] = [asked, null, []];
  hide(byId("j-lanes"), true);
  text(byId("j-timeline-note"), "");
}

export function close() {
  id = null;
}

export function changed(job) {
  if (!FINAL.has(job.state) || job.progress.total > SMALL || drawnState === job.state) return;
  drawnState = job.state;
  draw();
}

async function draw() {
  const asked = id;
  await told(async () => {
    const trace = await get(jobPath(asked, "/timeline"));
    if (asked === id) take(trace.traceEvents);
  });
}

function take(events) {
  const names = new Map();
  const byLane = new Map();
  for (const event of events) {
    const key = `${event.pid} ${event.tid}`;
    if (event.ph === "M" && event.name === "thread_name") names.set(key, event.args.name);
    if (event.ph !== "X") continue;
    const lane = byLane.get(key) ?? [];
    byLane.set(key, lane);
    lane.push(event);
  }
  lanes = [...byLane].map(([key, runs]) => ({ name: names.get(key) ?? key, runs }));
  const all = lanes.flatMap((lane) => lane.runs);
  const from = all.reduce((least, run) => Math.min(least, run.ts), Infinity);
  const to = all.reduce((most, run) => Math.max(most, run.ts + run.dur), -Infinity);
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
  keyed(byId("j-lane-names"), shown, (lane) => lane, ({ name }) => el("li", { textContent: line(String(name), 60) }), () => {});
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
    for (const run of lane.runs) {
      pen.fillStyle = hasFailed(run) ? palette.bad : palette.names[0];
      pen.fillRect(x(run.ts), y, Math.max(1, x(run.ts + run.dur) - x(run.ts) - 0.6), LANE_PX - 6);
    }
  });
  drawTimes(pen, palette, width, shown.length * LANE_PX);
  canvas.setAttribute("aria-label", `Timeline: ${byId("j-timeline-note").textContent}`);
}

const hasFailed = (run) => (run.args?.failed ?? 0) > 0;

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
