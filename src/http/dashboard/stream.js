// The task stream: a lane for each worker, a block for each run of chunks, sliding to the left. It is drawn again when it
// has moved by a pixel, or, for those who want less motion, once a second.

import { brush, colourOf, colours, onColours } from "./colours.js";
import { hide, soon } from "./dom.js";
import { count, duration } from "./format.js";
import { live, serverNow } from "./live.js";

/** The right edge is so far behind now, in milliseconds: what ended since is still on its way. */
const DELAY_MS = 400;
const AXIS_PX = 20;
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Draws lanes on a canvas beside the rows of a table. `name` gives what a run is coloured by. */
export class Stream {
  constructor(canvas, head) {
    Object.assign(this, { canvas, head, rows: [], rowPx: 40, windowMs: 30_000, name: (run) => run.function });
    this.end = serverNow();
    this.size = { left: 0, top: 0, width: 0 };
    this.draw = this.draw.bind(this);
    new ResizeObserver(() => soon(() => this.place())).observe(head);
    onColours(() => soon(this.draw));
  }

  /** The lanes to show, from the top, each `rowPx` high. */
  show(rows, rowPx) {
    [this.rows, this.rowPx] = [rows, rowPx];
    this.place();
    this.start();
  }

  place() {
    const { head, canvas } = this;
    const size = { left: head.offsetLeft, top: head.offsetTop + head.offsetHeight, width: head.offsetWidth };
    const height = this.rows.length * this.rowPx + AXIS_PX;
    Object.assign(canvas.style, { left: `${size.left}px`, top: `${size.top}px`, width: `${size.width}px`, height: `${height}px` });
    Object.assign(this, { size, height });
    hide(canvas, this.rows.length === 0);
    soon(this.draw);
  }

  start() {
    if (this.timer || !this.canvas.isConnected) return;
    const turn = () => {
      this.timer = null;
      if (document.hidden || this.canvas.offsetParent === null) return;
      this.draw();
      // What does not move is drawn when it is shown again.
      if (this.rows.every((lane) => this.isQuiet(lane))) return;
      const pixel = this.windowMs / Math.max(1, this.size.width * (devicePixelRatio || 1));
      this.timer = setTimeout(() => requestAnimationFrame(turn), still.matches ? 1000 : Math.max(12, pixel - 4));
    };
    this.timer = setTimeout(turn, 0);
  }

  isQuiet(lane) {
    return !lane?.running && (lane?.runs.at(-1)?.end ?? 0) < this.end - this.windowMs;
  }

  draw() {
    const { width } = this.size;
    if (width < 10 || this.canvas.hidden) return;
    this.end = serverNow() - DELAY_MS;
    const pen = brush(this.canvas, width, this.height);
    this.drawAxis(pen, width);
    this.rows.forEach((lane, at) => this.drawLane(pen, lane, at * this.rowPx, width));
  }

  x(ms) {
    return ((ms - this.end) / this.windowMs + 1) * this.size.width;
  }

  drawAxis(pen, width) {
    const palette = colours();
    const bottom = this.rows.length * this.rowPx;
    const step = this.windowMs / (width < 360 ? 2 : 6);
    pen.font = `11px ${palette.font}`;
    pen.textBaseline = "middle";
    pen.fillStyle = palette.soft;
    for (let ago = 0; ago <= this.windowMs; ago += step) {
      const x = Math.min(width - 0.5, Math.max(0.5, width * (1 - ago / this.windowMs)));
      pen.textAlign = ago === 0 ? "right" : ago === this.windowMs ? "left" : "center";
      pen.fillText(ago === 0 ? "now" : `−${ago / 1000} s`, x, bottom + AXIS_PX / 2 + 2);
    }
  }

  drawLane(pen, lane, top, width) {
    const palette = colours();
    const [y, height] = [top + 5, this.rowPx - 10];
    pen.fillStyle = palette.lane;
    pen.fillRect(0, y, width, height);
    if (!lane) return;
    const from = this.end - this.windowMs;
    for (let at = lane.runs.length - 1; at >= 0 && lane.runs[at].end > from; at -= 1) {
      this.drawRun(pen, lane.runs[at], y, height);
    }
    if (lane.running) this.drawRunning(pen, lane, y, height);
    pen.fillStyle = palette.ink;
    for (const end of lane.gone ? [...lane.ends, lane.gone] : lane.ends) {
      if (end > from) pen.fillRect(this.x(end) - 0.5, y + height, 1, 4);
    }
  }

  drawRun(pen, run, y, height) {
    const palette = colours();
    const x = Math.max(0, this.x(run.start));
    const width = Math.min(this.size.width, this.x(run.end)) - x;
    if (x > this.size.width) return;
    pen.fillStyle = palette.names[colourOf(this.name(run))];
    // One that is narrower than a pixel is that much paler, or short work would look like much.
    pen.globalAlpha = Math.min(1, Math.max(0.3, width));
    pen.fillRect(x, y, Math.max(1, width - 0.6), height);
    pen.globalAlpha = 1;
    if (run.failed) mark(pen, palette, x, width, y, height);
  }

  /** What runs now has no end yet: paler, with an edge. */
  drawRunning(pen, lane, y, height) {
    const { running } = lane;
    const x = Math.max(0, this.x(Math.max(running.started, lane.runs.at(-1)?.end ?? 0)));
    const width = this.size.width - x;
    if (width < 1) return;
    pen.fillStyle = colours().names[colourOf(this.name(running))];
    pen.globalAlpha = 0.55;
    pen.fillRect(x, y, width, height);
    pen.globalAlpha = 1;
    pen.fillRect(x, y + height - 2, width, 2);
  }

  /** The names that the window is coloured by, in a steady order. */
  names() {
    const from = this.end - this.windowMs;
    const seen = new Set();
    for (const lane of this.rows) {
      const runs = lane?.runs ?? [];
      for (let at = runs.length - 1; at >= 0 && runs[at].end > from; at -= 1) seen.add(this.name(runs[at]));
      if (lane?.running) seen.add(this.name(lane.running));
    }
    return [...seen].sort();
  }

  /** What is drawn at a place, in words. */
  at(x, y) {
    const lane = this.rows[Math.floor(y / this.rowPx)];
    if (!lane) return null;
    const ms = this.end + (x / this.size.width - 1) * this.windowMs;
    const slack = this.windowMs / this.size.width;
    const run = lane.runs.findLast((run) => run.start - slack <= ms && ms <= run.end + slack);
    if (run) return { ...run, words: runWords(run), lane };
    const { running } = lane;
    return running && ms >= running.started ? { ...running, words: `#${running.index} runs`, lane } : null;
  }
}

function runWords({ index, count: tasks, failed, start, end }) {
  const which = tasks === 1 ? `#${index}` : `${count(tasks)} tasks from #${index}`;
  return `${which}, ${duration(end - start)}${failed ? `, ${count(failed)} failed` : ""}`;
}

/** Failures have a bar of their colour and a notch, so that it does not take colours to see them. */
function mark(pen, palette, x, width, y, height) {
  const wide = Math.max(3, width);
  pen.fillStyle = palette.bad;
  pen.fillRect(x, y, wide, height);
  pen.fillStyle = palette.panel;
  pen.fillRect(x, y + height / 2 - 1.5, wide, 3);
}
