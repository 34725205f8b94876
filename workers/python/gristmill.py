"""A function in Python for gristmill. One file, no dependency, Python 3.8 or later; docs/workers.md says more.

    import gristmill

    @gristmill.function
    def double(input):
        return 2 * input

    if __name__ == "__main__":
        gristmill.run()
"""

import collections
import io
import json
import logging
import os
import select
import sys
import threading
import time
import traceback

# Short tasks are timed and answered a piece at a time; one that takes as long as this is a piece of its own.
PIECE_NS, PIECE_TASKS = 200_000, 4096
LOOK_EVERY_S, TELL_EVERY_S = 0.01, 0.1
# An output longer than this ends its piece.
LARGE_CHARS = 1000
FLUSH_BYTES, LOG_BYTES = 1 << 20, 1 << 16

Task = collections.namedtuple("Task", "job index attempt traceparent")
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_function = _initializer = _worker = None


class Permanent(Exception):
    """A failure that another attempt would not mend; so is any exception whose `retryable` is False."""
    retryable = False


def function(f):
    """Declares what maps an input to its output."""
    global _function
    if _function is not None:
        raise TypeError(f"a worker has one function, and {_function.__name__} and {f.__name__} are two")
    _function = f
    return f


def initializer(f):
    """Declares what each process does once, before its first task."""
    global _initializer
    _initializer = f
    return f


def task():
    """The job, index, attempt and W3C traceparent (or None) of the task at work; None if there is none."""
    chunk = _worker and _worker.chunk
    return Task(chunk["job"], _worker.index(), chunk["attempt"], chunk.get("traceparent")) if chunk else None


def progress(done, total=None):
    """Tells how far the task at work is: ten times a second at most, but always at its end."""
    if task():
        _worker.tell(float(done), None if total is None else float(total))


def run():
    """Serves tasks until stdin ends."""
    global _worker
    if _function is None:
        raise TypeError("there is no function; put @gristmill.function before one")
    _worker = _Worker()
    if _initializer:
        _initializer()
    if not logging.root.handlers:
        logging.root.addHandler(_Handler())
    _worker.serve()


class _Stream(io.BufferedIOBase):
    """What stands behind sys.stdout and sys.stderr."""

    def __init__(self, worker, name, fd):
        self.worker, self.name, self.fileno, self.writable = worker, name, lambda: fd, lambda: True

    def write(self, data):
        self.worker.log(self.name, bytes(data))
        return len(data)


class _Handler(logging.Handler):
    def emit(self, record):
        try:
            _worker.log(record.levelname.lower(), _utf8(self.format(record) + "\n"))
        except Exception:
            self.handleError(record)


def _message(kind, **body):
    return b"\x1e%s\n" % _encode({kind: body}).encode()


def _utf8(text):
    return text.encode("utf-8", "backslashreplace")


def _failure(error, what="", **more):
    try:
        what += str(error)
    except Exception:
        what += "(its message cannot be made)"
    return dict(type=type(error).__name__, message=_utf8(what)[:LOG_BYTES].decode("utf-8", "replace"), **more)


class _Worker:
    def __init__(self):
        # What else reads descriptor 0 or writes to 1, be it C code or a child process, stays out of the protocol.
        self.stdin, self.stdout, self.pid = os.dup(0), os.dup(1), os.getpid()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        # `lock` guards the chunk, `wire` the way out. Under `wire` no code of the user runs, so anyone may log.
        self.lock, self.wire = threading.RLock(), threading.RLock()
        self.sending, self.unsent = False, collections.deque()
        self.working = threading.Event()
        self.poll = select.poll()
        self.poll.register(self.stdin, select.POLLIN)
        self.partial, self.requests, self.messages, self.bytes = [], collections.deque(), [], 0
        # The piece: its first index, how many tasks, those not begun, the outputs, how many of them are answered.
        self.first, self.tasks, self.todo, self.outputs, self.answered = 0, 0, iter(()), [], 0
        # The chunk; the index behind its last task that is to be run; how large pieces are, and times.
        self.chunk, self.end, self.size, self.usual, self.since, self.told = None, 0, 1, 0, 0, (None, 0)
        self.streams = []
        for fd, name in (1, "stdout"), (2, "stderr"):
            getattr(sys, name).flush()
            stream = io.TextIOWrapper(_Stream(self, name, fd), "utf-8", "backslashreplace", line_buffering=True)
            setattr(sys, name, stream)
            self.streams.append(stream)

    def serve(self):
        threading.Thread(target=self.look_after, daemon=True).start()
        self.send(_message("ready", protocol=1, take_back=True))
        while self.requests or self.read():
            # What is asked for here is of a chunk that is answered to the end.
            request = self.requests.popleft() if self.requests else {}
            if "run" in request:
                self.work(request["run"])

    def read(self):
        """Takes in what there is; False at the end of stdin."""
        data = os.read(self.stdin, 1 << 20)
        *ends, rest = data.split(b"\n")
        for end in ends:
            self.requests.append(json.loads(b"".join(self.partial) + end))
            self.partial.clear()
        self.partial.append(rest)
        return bool(data)

    def work(self, chunk):
        inputs, start = chunk["inputs"], chunk["index"]
        with self.lock:
            self.first, self.end, self.outputs, self.answered = start, start + len(inputs), [], 0
            self.chunk = chunk
        if len(inputs) > 1:
            self.working.set()
        while self.first < self.end:
            with self.lock:
                piece = inputs[self.first - start:min(self.first + self.size, self.end) - start]
                self.tasks, self.todo, self.since = len(piece), iter(piece), time.perf_counter_ns()
            failure = None
            try:
                _run(_function, self.todo, self.outputs.append)
            except Exception as error:
                trace = error.__traceback__.tb_next.tb_next  # Without the two frames that are ours.
                stack = _utf8("".join(traceback.format_exception(type(error), error, trace)))[-LOG_BYTES:]
                retryable = getattr(error, "retryable", True) is not False
                failure = _failure(error, stack=stack.decode("utf-8", "replace"), retryable=retryable)
            except BaseException:
                # The worker ends, and only the task at work is to be without an answer.
                with self.lock:
                    self.answer(self.outputs[self.answered:], True)
                    self.flush()
                raise
            self.tasks = len(self.outputs) + (failure is not None)
            for stream in self.streams:
                if not stream.closed:
                    stream.flush()
            with self.lock:
                self.answer(self.outputs[self.answered:], failure is not None)
                if failure:
                    self.fail(failure)
                self.first, self.outputs, self.answered = self.first + self.tasks, [], 0
        with self.lock:
            self.chunk = None
            self.flush()

    def answer(self, outputs, unfinished):
        """Makes a message of the next outputs; `unfinished` if the time since the last one is another task's too."""
        if not outputs:
            return
        try:
            text = _array(outputs)
        except Exception as error:
            if len(outputs) > 1:
                for output in outputs:
                    self.answer([output], True)
            else:
                self.fail(_failure(error, "the output is no JSON: ", verdict="bad_output", retryable=False))
            return
        done = '\x1e{"done":{"index":%d,"outputs":%s,"ns":%d}}\n'
        self.push(done % (self.first + self.answered, text, self.lap(len(outputs), unfinished)), len(outputs))

    def fail(self, failure):
        message = _message("failed", index=self.first + self.answered, ns=self.lap(1, False), **failure)
        self.push(message.decode(), 1)

    def lap(self, count, unfinished):
        """How long each of so many tasks took; if another has begun since, as long as usual at most."""
        took = max(time.perf_counter_ns() - self.since, 1)
        ns = min(took // count, self.usual) if unfinished else took // count
        self.since, self.usual = self.since + ns * count, ns
        self.size = min(8 * count, PIECE_NS * count // took + 1, PIECE_TASKS)
        return ns

    def push(self, message, count):
        self.answered += count
        self.messages.append(message)
        self.bytes += len(message)
        if self.bytes >= FLUSH_BYTES:
            self.flush()

    def flush(self):
        messages, self.messages, self.bytes = self.messages, [], 0
        self.send("".join(messages).encode())

    def send(self, data):
        with self.wire:
            self.unsent.append(data)
            # A signal handler or a finalizer that logs may come in between; its message waits for the end of this one.
            while self.unsent and not self.sending:
                self.sending, rest = True, memoryview(self.unsent.popleft())
                while rest:
                    rest = rest[os.write(self.stdout, rest):]
                self.sending = False

    def look_after(self):
        """In a thread of its own; wakes up only while there are chunks of several tasks."""
        seen = None
        while True:
            self.working.wait()
            time.sleep(LOOK_EVERY_S)
            with self.lock:
                if self.chunk is None:
                    self.working.clear()
                elif self.chunk is seen:
                    self.look()
                seen = self.chunk

    def look(self):
        """Sends what is answered and hears what is asked while a task takes its time."""
        # Ends the piece behind that task; no other thread runs before list() is done.
        list(self.todo)
        self.answer(self.outputs[self.answered:], True)
        self.flush()
        while self.poll.poll(0) and self.read():
            pass
        asked = [request["take_back"]["index"] for request in self.requests if "take_back" in request]
        self.requests = collections.deque(request for request in self.requests if "run" in request)
        for index in asked:
            self.take_back(index)

    def take_back(self, index):
        waiting = [request for request in self.requests if request["run"]["index"] == index]
        if waiting:
            self.requests.remove(waiting[0])
        elif index == self.chunk["index"] and self.first + len(self.outputs) < self.end:
            index = self.end = self.first + len(self.outputs) + 1
        else:
            return
        self.send(_message("returned", index=index))

    def index(self):
        return self.first + max(0, min(len(self.outputs), self.tasks - 1)) if self.chunk else None

    def log(self, stream, data):
        if os.getpid() != self.pid:  # A fork has no say in the protocol.
            os.write(2, data)
            return
        dropped = max(0, len(data) - LOG_BYTES)
        text = data[dropped:].decode("utf-8", "replace")
        self.send(_message("log", index=self.index(), stream=stream, text=text, dropped_bytes=dropped))

    def tell(self, done, total):
        index, now = self.index(), time.monotonic()
        due = index != self.told[0] or now - self.told[1] >= TELL_EVERY_S or done == total
        if due and os.getpid() == self.pid:
            self.told = (index, now)
            self.send(_message("progress", index=index, done=done, total=total))


class _Json(str):
    """An output that may change once it is returned, as it was then."""


def _run(function, inputs, append, plain=frozenset((int, float, bool, type(None)))):
    for value in inputs:
        output = function(value)
        kind = type(output)
        if kind not in plain and (kind is not str or len(output) > LARGE_CHARS):
            try:
                output = _Json(_encode(output))
            except Exception:
                pass  # The same error comes when it is answered.
            if type(output) is not _Json or len(output) > LARGE_CHARS:
                append(output)
                break
        append(output)


def _array(outputs):
    kinds = set(map(type, outputs))
    if kinds == {int}:
        return repr(outputs)  # Makes no object of each.
    if _Json not in kinds:
        return _encode(outputs)
    return "[%s]" % ",".join([output if type(output) is _Json else _encode(output) for output in outputs])
