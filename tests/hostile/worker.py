"""A worker that breaks the rules in one way: `python3 worker.py FAULT`.

It speaks the `frames` protocol by hand. The input {"bad": true, …} makes the fault; any other is echoed. Three more
words make a program for a mode that has an adapter; those are at the end.
"""

import json
import os
import signal
import sys
import time

MB = 1_000_000
FOREVER = 10_000
HELD = []
FAULTS = {}
STARTS = {}
PROGRAMS = {}


def fault(task):
    FAULTS[task.__name__] = task


def start(function):
    STARTS[function.__name__] = function


def program(function):
    PROGRAMS[function.__name__] = function


def write(data, fd=1):
    while data:
        data = data[os.write(fd, data):]


def message(kind, **body):
    return b"\x1e" + json.dumps({kind: body}).encode() + b"\n"


def done(index, *outputs):
    return message("done", index=index, outputs=outputs)


def ready(protocol=1):
    write(message("ready", protocol=protocol))


def ignore_sigterm():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)


# Faults: what they return is written; nothing, if they have answered themselves.


@fault
def stubborn(index, **_):
    ignore_sigterm()
    time.sleep(FOREVER)


@fault
def late(index, **_):
    def answer(*_):
        write(done(index, "late"))
        sys.exit(0)

    signal.signal(signal.SIGTERM, answer)
    time.sleep(FOREVER)


@fault
def child_memory(**_):
    import subprocess

    code = "import time; held = []\nwhile True: held.append(b'x' * 4_000_000); time.sleep(0.02)"
    subprocess.run([sys.executable, "-c", code])


@fault
def leak(index, **_):
    HELD.append(b"x" * (100 * MB))
    # Long enough that it is seen at work.
    time.sleep(2)
    return done(index, "leaked")


@fault
def idle(**_):
    time.sleep(FOREVER)


@fault
def stopped(**_):
    os.kill(os.getpid(), signal.SIGSTOP)


@fault
def segfault(**_):
    write(b"about to fall\n", fd=2)
    os.kill(os.getpid(), signal.SIGSEGV)


@fault
def abort(**_):
    os.abort()


@fault
def exit_3(**_):
    os._exit(3)


@fault
def exit_0(**_):
    os._exit(0)


@fault
def twice(index, **_):
    return done(index, "first") + done(index, "second")


@fault
def twice_slowly(index, then, **_):
    write(done(index, "first"))
    wait_for(then)
    return done(index, "second")


@fault
def wrong_index(index, **_):
    return done(index + 1_000_000, "wrong")


@fault
def too_many(index, **_):
    return done(index, *range(70_000))


@fault
def no_json(**_):
    return b"\x1e{nonsense\n"


@fault
def failed_ok(index, **_):
    return message("failed", index=index, verdict="ok", message="no")


@fault
def too_deep(index, depth, **_):
    return b'\x1e{"done":{"index":%d,"outputs":[%s%s]}}\n' % (index, b"[" * depth, b"]" * depth)


@fault
def large(index, **_):
    return done(index, "x" * (2 * MB))


@fault
def large_error(index, **_):
    return message("failed", index=index, message="x" * (2 * MB), retryable=False)


@fault
def absurd_figures(index, **_):
    most = 2**64 - 1
    usage = {"cpu_ns": most, "max_rss_bytes": most}
    return message("done", index=index, outputs=["busy"], ns=[most], usage=usage)


@fault
def endless_line(**_):
    write(b"\x1e{")
    for _ in range(300):
        write(b"x" * MB)
    time.sleep(FOREVER)


@fault
def much_stderr(index, bytes, **_):
    line = b"x" * 499 + b"\n"
    for _ in range(bytes // MB):
        write(line * (MB // len(line)), fd=2)
    write(b"the end\n", fd=2)
    return done(index, "quiet")


@fault
def much_stdout(index, bytes, **_):
    line = b"x" * 499 + b"\n"
    for _ in range(bytes // MB):
        write(line * (MB // len(line)))
    # The message stands behind a print without a line's end.
    write(b"the end")
    return done(index, "quiet")


@fault
def spins(**_):
    while True:
        pass


@fault
def closed_stdout(**_):
    ignore_sigterm()
    os.close(1)
    time.sleep(FOREVER)


@fault
def closed_stdin(index, **_):
    os.close(0)
    write(done(index, "deaf"))
    time.sleep(FOREVER)


@fault
def forks(**_):
    for _ in range(200):
        if os.fork() == 0:
            os.setsid()
            ignore_sigterm()
            time.sleep(FOREVER)
    os.abort()


@fault
def orphan(**_):
    import subprocess

    subprocess.Popen(["sleep", str(FOREVER)], start_new_session=True)
    os._exit(3)


@fault
def noisy(index, attempt, **_):
    write(b"stderr of %d, attempt %d\n" % (index, attempt), fd=2)
    write(message("log", index=index, stream="warning", text="a log message"))
    return done(index, "said")


@fault
def absurd_logs(index, **_):
    log = message("log", index=index, stream="x" * (10 * MB), text="hello", dropped_bytes=2**64 - 1)
    for _ in range(30):
        write(log)
    return done(index, "said")


@fault
def far(index, then, **_):
    write(message("progress", index=index, done=3, total=10))
    wait_for(then)
    return done(index, "there")


@fault
def refuse(index, attempt, retryable=True, unless=None, then=None, **_):
    write(b"attempt %d\n" % attempt, fd=2)
    if then:
        wait_for(then)
    if unless and os.path.exists(unless):
        return done(index, "at last")
    return message("failed", index=index, type="ValueError", message="no", retryable=retryable)


@fault
def full_pipes(index, **_):
    write(b"e" * 100_000 + b"\n", fd=2)
    return done(index, "x" * 100_000)


# What is wrong from the start.


@start
def never_ready():
    write(b"looking for the model\n", fd=2)
    time.sleep(FOREVER)


@start
def wrong_version():
    ready(protocol=2)
    time.sleep(FOREVER)


@start
def exits_at_start():
    write(b"no module named frobnicate\n", fd=2)
    sys.exit(7)


# Programs for the modes `exec`, `lines` and `batch`.


@program
def two_lines():
    for line in sys.stdin:
        print(line.strip() + ("\n2" if "bad" in line else ""), flush=True)


@program
def buffered():
    for line in sys.stdin:
        print(line.strip())


@program
def deaf_filter():
    for line in iter(sys.stdin.readline, ""):
        if "bad" in line:
            os.close(0)
        print(line.strip(), flush=True)
        if "bad" in line:
            time.sleep(FOREVER)


@program
def mute_filter():
    for line in iter(sys.stdin.readline, ""):
        if "bad" in line:
            os.close(1)
            time.sleep(FOREVER)
        print(line.strip(), flush=True)


@program
def mutters():
    for line in iter(sys.stdin.readline, ""):
        if "bad" in line:
            os._exit(4)
        write(b"about %s" % line.encode(), fd=2)
        print(line.strip(), flush=True)


@program
def drops():
    sys.stdout.writelines(line for line in sys.stdin if "bad" not in line)


def run(task, make):
    # All of a chunk is read before it is run, and nothing is read while it runs.
    for at, value in enumerate(task["inputs"]):
        index = task["index"] + at
        if isinstance(value, dict) and value.pop("bad", False):
            write(make(index=index, attempt=task["attempt"], **value) or b"")
        else:
            write(done(index, value))


def serve(make):
    ready()
    for line in sys.stdin.buffer:
        run(json.loads(line)["run"], make)


name = sys.argv[1]
if name in PROGRAMS:
    PROGRAMS[name]()
else:
    STARTS.get(name, lambda: None)()
    serve(FAULTS.get(name))
