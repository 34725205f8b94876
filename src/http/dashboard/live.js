// What the stream of events has told: the pool, the jobs that have not ended, the chunks of the last minutes by worker,
// and the series that are drawn. All of it is bounded. No DOM.

export const FINAL = new Set(["succeeded", "failed", "cancelled"]);

/** The longest window that is drawn, and the length of the series, in seconds. */
const WINDOW_S = 120;
export const SERIES_S = 300;
/** So many runs of a worker are kept, so many workers that have ended, ends of processes, and of the latest chunks. */
const [MOST_RUNS, MOST_GONE, MOST_ENDS, LATEST] = [4000, 32, 200, 20];
/** Chunks of one job so close to each other, in milliseconds, are drawn as one run, up to a length. */
const [GAP_MS, RUN_MS] = [4, 60];

export const live = {
  pool: null,
  /** When `pool` was true, in the server's milliseconds. */
  poolAt: 0,
  active: new Map(),
  /** Whether there are active jobs beside those in `active`. */
  activeMore: false,
  lanes: new Map(),
  latest: [],
  /** Whether the stream is open: what happens while it is not is unknown, and NaN in the series. */
  isOpen: false,
  rate: new Float64Array(SERIES_S).fill(NaN),
  failed: new Float64Array(SERIES_S),
  queue: new Float64Array(SERIES_S).fill(NaN),
};

/** How far the server's clock is behind this one, in milliseconds, as the fastest message so far tells it. */
let behind = null;
let second = Math.floor(Date.now() / 1000);

export const serverNow = () => Date.now() - (behind ?? 0);

/** Moves the series on to this second. */
export function tick() {
  const now = Math.floor(Date.now() / 1000);
  const passed = Math.min(now - second, SERIES_S);
  if (passed <= 0) return;
  second = now;
  shift(live.rate, passed, live.isOpen ? 0 : NaN);
  shift(live.failed, passed, 0);
  shift(live.queue, passed, live.isOpen ? queued() : NaN);
}

function shift(series, passed, value) {
  series.copyWithin(0, passed);
  series.fill(value, SERIES_S - passed);
}

export const unfinished = (job) => job.progress.total - job.progress.done;

export function queued() {
  let sum = 0;
  for (const job of live.active.values()) sum += unfinished(job);
  return sum;
}

/** Tasks a second, over the last whole seconds. */
export function currentRate() {
  const whole = live.rate.subarray(SERIES_S - 4, SERIES_S - 1);
  return whole.reduce((sum, n) => sum + (n || 0), 0) / whole.length;
}

export function takePool(pool) {
  tick();
  live.pool = pool;
  live.poolAt = serverNow();
  takeWorkers(pool.workers);
}

/** A worker's name is taken over by the process that replaces it, so a lane has several processes, one after the other. */
function takeWorkers(workers) {
  const there = new Set();
  for (const worker of workers) {
    const lane = laneOf(worker.name);
    if (worker.pid != null && lane.pid != null && lane.pid !== worker.pid) {
      lane.ends = [...lane.ends.slice(1 - MOST_ENDS), lane.gone ?? live.poolAt];
    }
    Object.assign(lane, { worker, pid: worker.pid ?? lane.pid, gone: null });
    const { job, function: name, index } = worker;
    lane.running = worker.state === "busy" ? { job, function: name, index, started: live.poolAt - worker.running_ms } : null;
    there.add(worker.name);
  }
  for (const lane of live.lanes.values()) {
    if (!there.has(lane.name)) {
      lane.gone ??= live.poolAt;
      lane.running = null;
    }
  }
  forgetLanes();
}

function laneOf(name) {
  let lane = live.lanes.get(name);
  if (!lane) live.lanes.set(name, (lane = { name, pid: null, worker: null, runs: [], ends: [], gone: null, running: null }));
  return lane;
}

function forgetLanes() {
  const old = serverNow() - WINDOW_S * 1000;
  const gone = [...live.lanes.values()].filter((lane) => lane.gone);
  const excess = gone.length - MOST_GONE;
  gone.sort((a, b) => a.gone - b.gone).forEach((lane, at) => {
    if (lane.gone < old || at < excess) live.lanes.delete(lane.name);
  });
}

/** Chunks that have ended; `dropped` others were too many to be told. */
export function takeTasks({ items, dropped }) {
  tick();
  const share = items.length / (items.length + dropped);
  for (const chunk of items) takeChunk(chunk, share);
  live.latest = [...items.slice(-LATEST).reverse(), ...live.latest].slice(0, LATEST);
}

function takeChunk(chunk, share) {
  const end = chunk.started_ms + chunk.duration_ms;
  const late = Date.now() - end;
  // It drifts back slowly, so that a clock that was set is followed.
  behind = behind == null || late < behind ? late : behind + Math.min(late - behind, 1);
  const at = SERIES_S - 1 - second + Math.floor((end + behind) / 1000);
  if (at >= 0 && at < SERIES_S) {
    live.rate[at] = (live.rate[at] || 0) + chunk.count / share;
    live.failed[at] += chunk.failed;
  }
  const { runs } = laneOf(chunk.worker);
  const last = runs.at(-1);
  const joins = last && !last.failed && !chunk.failed && last.job === chunk.job && last.pid === chunk.pid && chunk.started_ms - last.end < GAP_MS;
  if (joins && end - last.start < RUN_MS) {
    last.end = Math.max(last.end, end);
    last.count += chunk.count;
  } else {
    const { job, pid, index, count, failed } = chunk;
    runs.push({ start: chunk.started_ms, end, job, pid, function: chunk.function, index, count, failed });
  }
  const old = serverNow() - WINDOW_S * 1000;
  const kept = runs.findIndex((run) => run.end > old);
  const excess = Math.max(kept < 0 ? 0 : kept, runs.length - MOST_RUNS);
  if (excess > 100) runs.splice(0, excess);
}

/** Jobs that have changed since their list was asked for. */
let changed = new Set();

export function expectActive() {
  changed = new Set();
}

/** Jobs that are new or have changed. */
export function takeJobs(items) {
  for (const job of items) {
    changed.add(job.id);
    if (FINAL.has(job.state)) live.active.delete(job.id);
    else live.active.set(job.id, job);
  }
}

/** All jobs that have not ended, as the server lists them. */
export function takeActive(items, more) {
  const newer = [...live.active].filter(([id]) => changed.has(id));
  const listed = items.filter((job) => !changed.has(job.id)).map((job) => [job.id, job]);
  live.active = new Map([...listed, ...newer]);
  live.activeMore = more;
  tick();
  live.queue[SERIES_S - 1] = queued();
}

export function forget(ids) {
  for (const id of ids) {
    changed.add(id);
    live.active.delete(id);
  }
}

/** The share of the last `ms` milliseconds that a worker was at work. */
export function busyShare(lane, ms) {
  if (!lane) return 0;
  const now = live.poolAt;
  const from = now - ms;
  let busy = 0;
  for (let at = lane.runs.length - 1; at >= 0 && lane.runs[at].end > from; at -= 1) {
    busy += Math.min(lane.runs[at].end, now) - Math.max(lane.runs[at].start, from);
  }
  if (lane.running) busy += now - Math.max(lane.running.started, from, lane.runs.at(-1)?.end ?? 0);
  return Math.min(1, Math.max(0, busy / ms));
}
