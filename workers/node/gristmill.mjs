// A function in JavaScript for gristmill. One file, no dependency, Node 18 or later; docs/workers.md says more.
//
//     import gristmill from './gristmill.mjs';
//     gristmill.run((input) => 2 * input);

import fs from 'node:fs';
import { format } from 'node:util';

const FLUSH_EVERY_MS = 10;
const TELL_EVERY_MS = 100;
const FLUSH_CHARS = 1 << 20;
const LOG_CHARS = 1 << 16;

// The task at work, and what is answered and not sent: the first index, outputs and durations, their size, since when.
let task = null;
let [first, outputs, durations, chars, since] = [0, [], [], 0, 0];
const pause = new Int32Array(new SharedArrayBuffer(4));

/** Serves tasks until stdin ends; `f` maps an input to an output or to a promise of one. */
async function run(f) {
  captureOutput();
  process.on('exit', flush);
  // Nothing is heard while a synchronous function runs, so nothing can be taken back.
  send('ready', { protocol: 1, take_back: false });
  for await (const line of lines(process.stdin)) {
    const { run: chunk } = JSON.parse(line);
    if (chunk) await work(f, chunk);
  }
  process.exit();
}

/** Tells how far the task at work is: ten times a second at most, but always at its end. */
function progress(done, total = null) {
  task?.progress(done, total);
}

class Task {
  #told = -Infinity;

  constructor(job, index, attempt, traceparent = null) {
    this.job = job;
    this.index = index;
    this.attempt = attempt;
    this.traceparent = traceparent;
  }

  progress(done, total = null) {
    if (done !== total && performance.now() - this.#told < TELL_EVERY_MS) return;
    this.#told = performance.now();
    send('progress', { index: this.index, done: Number(done), total: total === null ? null : Number(total) });
  }
}

async function* lines(stream) {
  let partial = [];
  for await (let data of stream) {
    for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10)) {
      yield Buffer.concat([...partial, data.subarray(0, end)]).toString();
      [partial, data] = [[], data.subarray(end + 1)];
    }
    partial.push(data);
  }
}

async function work(f, { job, index, attempt, traceparent, inputs }) {
  let began = performance.now();
  since = began;
  for (const input of inputs) {
    task = new Task(job, index, attempt, traceparent);
    let output, failure;
    try {
      let value = f(input, task);
      if (typeof value?.then === 'function') value = await settled(value);
      output = json(value);
    } catch (error) {
      failure = describe(error);
    }
    const now = performance.now();
    const ns = Math.round((now - began) * 1e6);
    began = now;
    if (failure) {
      flush();
      send('failed', { index, ns, ...failure });
    } else {
      if (outputs.length === 0) [first, since] = [index, now];
      outputs.push(output);
      durations.push(ns);
      chars += output.length;
      if (chars >= FLUSH_CHARS || now - since >= FLUSH_EVERY_MS) flush();
    }
    index += 1;
  }
  task = null;
  flush();
}

async function settled(promise) {
  const timer = outputs.length > 0 ? setTimeout(flush, FLUSH_EVERY_MS) : undefined;
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

/** The JSON of an output. What JSON would silently make null or drop is refused; undefined alone is null. */
function json(value) {
  const text = JSON.stringify(value ?? null);
  if (text === undefined) throw notJson(`a ${typeof value}`);
  if (text.includes('null')) {
    JSON.stringify(value, (_, part) => {
      if (typeof part === 'number' && !Number.isFinite(part)) throw notJson(part);
      return part;
    });
  }
  return text;
}

function notJson(what) {
  return Object.assign(new TypeError(`the output is no JSON: it has ${what}`), { retryable: false });
}

function describe(error) {
  const isError = error instanceof Error;
  const stack = isError ? String(error.stack).split('\n').filter((line) => !line.includes(import.meta.url)) : null;
  return {
    type: isError ? clean(error.name) : typeof error,
    message: clean(isError ? error.message : format(error)),
    stack: stack && clean(stack.join('\n')),
    retryable: error?.retryable !== false,
  };
}

// Of lone surrogates JSON can tell, but UTF-8 cannot.
function clean(text) {
  return Buffer.from(String(text).slice(0, LOG_CHARS)).toString();
}

function flush() {
  if (outputs.length === 0) return;
  const done = `\x1e{"done":{"index":${first},"outputs":[${outputs.join()}],"ns":[${durations.join()}]}}\n`;
  [outputs, durations, chars] = [[], [], 0];
  write(done);
}

function send(kind, body) {
  write(`\x1e${JSON.stringify({ [kind]: body })}\n`);
}

function write(text) {
  let data = Buffer.from(text);
  while (data.length > 0) {
    try {
      data = data.subarray(fs.writeSync(1, data));
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
      // Someone has made the pipe non-blocking, and it is full.
      Atomics.wait(pause, 0, 0, 1);
    }
  }
}

// Node cannot move descriptor 1 elsewhere. What a native add-on or a child process writes to it is a stray line, which
// the server tells from a message.
function captureOutput() {
  for (const stream of ['stdout', 'stderr']) {
    process[stream].write = (data, encoding, then) => {
      log(stream, typeof data === 'string' ? data : Buffer.from(data).toString());
      const callback = typeof encoding === 'function' ? encoding : then;
      if (callback) process.nextTick(callback);
      return true;
    };
  }
}

function log(stream, text) {
  const dropped = Math.max(0, text.length - LOG_CHARS);
  send('log', { index: task?.index, stream, text: clean(text.slice(dropped)), dropped_bytes: dropped });
}

export { progress, run };
export default { progress, run };
