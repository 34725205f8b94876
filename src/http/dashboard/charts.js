// Small drawings: an area over time, and a histogram. Each has its words in `aria-label`.

import { brush, colours, onColours } from "./colours.js";
import { brief, count, duration } from "./format.js";
import { soon } from "./dom.js";

const redraws = new WeakMap();
const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => soon(redraws.get(target))));
const drawn = new Set();
onColours(() => drawn.forEach((canvas) => canvas.isConnected ? soon(redraws.get(canvas)) : drawn.delete(canvas)));

/** Draws now, and again when the size or the colours change. */
export function keep(canvas, draw) {
  if (!redraws.has(canvas)) sizes.observe(canvas);
  redraws.set(canvas, draw);
  drawn.add(canvas);
  draw();
}

function words(canvas, label) {
  if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
}

/** A number of that size or above that is 1, 2 or 5 times a power of ten. */
function roundUp(number) {
  const power = 10 ** Math.floor(Math.log10(Math.max(number, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= number);
}

/** A series that ends now, a value a second; NaN is unknown. Above it, in the colour of failures, `bad`. */
export function area(canvas, series, bad, label) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (width < 10) return;
  const palette = colours();
  const pen = brush(canvas, width, height);
  const peak = series.reduce((most, value) => (value > most ? value : most), 0);
  const top = roundUp(Math.max(peak, 1));
  const [left, bottom] = [0, height - 14];
  const x = (at) => left + (at / (series.length - 1)) * (width - left);
  const y = (value) => bottom - (value / top) * (bottom - 12);
  grid(pen, palette, { width, bottom, top, y, seconds: series.length });
  fill(pen, series, x, y, bottom, palette.accent);
  if (bad) bars(pen, bad, x, bottom, palette.bad);
  words(canvas, `${label}; at most ${count(peak)} in the last ${series.length / 60} minutes`);
}

function grid(pen, palette, { width, bottom, top, y, seconds }) {
  pen.strokeStyle = palette.line;
  pen.fillStyle = palette.soft;
  pen.font = `11px ${palette.font}`;
  pen.lineWidth = 1;
  for (const value of [top, top / 2, 0]) {
    pen.beginPath();
    pen.moveTo(0, Math.round(y(value)) + 0.5);
    pen.lineTo(width, Math.round(y(value)) + 0.5);
    pen.stroke();
  }
  pen.textBaseline = "bottom";
  pen.textAlign = "left";
  pen.fillText(brief(top), 2, y(top));
  pen.textBaseline = "top";
  for (let ago = 0; ago <= seconds; ago += 60) {
    pen.textAlign = ago === 0 ? "right" : ago === seconds ? "left" : "center";
    pen.fillText(ago === 0 ? "now" : `−${ago / 60} min`, width * (1 - ago / seconds), bottom + 3);
  }
}

function fill(pen, series, x, y, bottom, colour) {
  const outline = new Path2D();
  const body = new Path2D();
  let last = null;
  series.forEach((value, at) => {
    const isKnown = !Number.isNaN(value);
    if (isKnown && last == null) body.moveTo(x(at), bottom);
    if (isKnown) outline[last == null ? "moveTo" : "lineTo"](x(at), y(value));
    if (isKnown) body.lineTo(x(at), y(value));
    else if (last != null) body.lineTo(x(last), bottom);
    last = isKnown ? at : null;
  });
  if (last != null) body.lineTo(x(last), bottom);
  pen.fillStyle = colour;
  pen.globalAlpha = 0.16;
  pen.fill(body);
  pen.globalAlpha = 1;
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.lineJoin = "round";
  pen.stroke(outline);
}

function bars(pen, series, x, bottom, colour) {
  pen.fillStyle = colour;
  series.forEach((value, at) => {
    if (value > 0) pen.fillRect(x(at) - 1.5, bottom - 6, 3, 6);
  });
}

/** Task times on a logarithmic axis: `buckets` are `[from, to, count]` in milliseconds, `marks` pairs of a name and a time. */
export function histogram(canvas, buckets, marks) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (width < 10) return;
  const palette = colours();
  const pen = brush(canvas, width, height);
  pen.font = `11px ${palette.font}`;
  pen.textBaseline = "top";
  if (buckets.length === 0) return words(canvas, "No task has ended yet");
  const log = (ms) => Math.log2(Math.max(ms, 1e-6));
  const [low, high] = range(log(buckets[0][0]), log(buckets.at(-1)[1]));
  const x = (ms) => ((log(ms) - low) / (high - low)) * width;
  const most = Math.max(...buckets.map(([, , tasks]) => tasks));
  const bottom = height - 16;
  pen.fillStyle = palette.accent;
  for (const [from, to, tasks] of buckets) {
    const tall = Math.max(1, (tasks / most) * (bottom - 30));
    pen.fillRect(x(from), bottom - tall, Math.max(1, x(to) - x(from) - 1), tall);
  }
  drawTimes(pen, palette, { low, high, x, bottom, width });
  drawMarks(pen, palette, marks, { x, bottom, width });
  words(canvas, `Histogram of task times: ${marks.map(([name, ms]) => `${name} ${duration(ms)}`).join(", ")}`);
}

/** At least three doublings, so that times that are all alike are a peak and no wall. */
function range(low, high) {
  const wanting = Math.max(0, 3 - (high - low)) / 2;
  return [low - wanting - 0.1, high + wanting + 0.1];
}

function drawTimes(pen, palette, { low, high, x, bottom, width }) {
  pen.strokeStyle = palette.line;
  pen.fillStyle = palette.soft;
  pen.beginPath();
  pen.moveTo(0, bottom + 0.5);
  pen.lineTo(width, bottom + 0.5);
  pen.stroke();
  pen.textAlign = "center";
  const steps = high - low > 10 ? [1] : [1, 2, 5];
  let edge = 0;
  for (let power = -6; power <= 9; power += 1) {
    for (const ms of steps.map((step) => step * 10 ** power)) {
      const [at, half] = [x(ms), pen.measureText(duration(ms)).width / 2];
      if (at - half < edge || at + half > width) continue;
      pen.fillText(duration(ms), at, bottom + 3);
      edge = at + half + 14;
    }
  }
}

function drawMarks(pen, palette, marks, { x, bottom, width }) {
  pen.fillStyle = palette.ink;
  pen.strokeStyle = palette.ink;
  pen.setLineDash([2, 3]);
  let edge = -1;
  for (const [name, ms] of marks) {
    const at = Math.min(width - 1, Math.max(1, x(ms)));
    pen.beginPath();
    pen.moveTo(at, 14);
    pen.lineTo(at, bottom);
    pen.stroke();
    const half = pen.measureText(name).width / 2;
    const middle = Math.max(half, Math.min(width - half, at));
    // Names that would lie on each other give way: the line is there.
    if (middle - half < edge) continue;
    pen.textAlign = "center";
    pen.fillText(name, middle, 0);
    edge = middle + half + 6;
  }
  pen.setLineDash([]);
}
