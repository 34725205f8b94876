"""A peer of `gristmill bench`, warm: each line on stdin is one run, answered by the seconds that it took."""

import http.client
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256

CHUNK_SIZES = (1000, 5000, 20000, 62500)
POLL_S = 0.002


def identity(value):
    return value


def digest(text):
    return sha256(text.encode()).hexdigest()


def make(workload, tasks):
    """The function and the inputs."""
    if workload.startswith("sha256"):
        return digest, ["%064x" % index for index in range(tasks)]
    if workload == "large":
        return identity, [("%08x" % index) * 12800 for index in range(tasks)]
    return identity, list(range(tasks))


def timed(run, function, inputs):
    start = time.perf_counter()
    results = run()
    took = time.perf_counter() - start
    assert len(results) == len(inputs) and results[-1] == function(inputs[-1]) and results[0] == function(inputs[0])
    return took


def pool_map(workload, processes, tasks):
    function, inputs = make(workload, tasks)
    pool = multiprocessing.Pool(processes)
    pool.map(function, inputs[:processes])
    return lambda: timed(lambda: pool.map(function, inputs), function, inputs)


def pool_apply(workload, processes, tasks):
    """The median of one call at a time."""
    function, inputs = make(workload, tasks)
    pool = multiprocessing.Pool(processes)
    pool.map(function, inputs[:processes])
    one = lambda value: timed(lambda: [pool.apply(function, (value,))], function, [value])
    return lambda: sorted(map(one, inputs))[len(inputs) // 2]


def executor(workload, processes, tasks):
    """ProcessPoolExecutor with the best of some chunk sizes."""
    function, inputs = make(workload, tasks)
    pool = ProcessPoolExecutor(processes)
    run = lambda size: timed(lambda: list(pool.map(function, inputs, chunksize=size)), function, inputs)
    run(CHUNK_SIZES[-1])
    best = min(CHUNK_SIZES, key=run)
    return lambda: run(best)


def fastapi(workload, processes, tasks):
    """What one would write in an afternoon: one POST of all inputs, a pool behind it, poll, GET the results."""
    import fastapi, uvicorn  # noqa: F401, only to see that they are there
    function, inputs = make(workload, tasks)
    body = json.dumps(inputs)
    server = subprocess.Popen([sys.executable, __file__, "serve", str(processes)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    connection = http.client.HTTPConnection("127.0.0.1", int(server.stdout.readline()))

    def ask(method, path, body=None):
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().read()

    def run():
        start = time.perf_counter()
        job = json.loads(ask("POST", "/jobs", body))["id"]
        while not json.loads(ask("GET", "/jobs/%d" % job))["done"]:
            time.sleep(POLL_S)
        results = ask("GET", "/jobs/%d/results" % job)
        took = time.perf_counter() - start
        assert json.loads(results) == inputs
        return took
    return run


def serve(processes):
    import fastapi, socket, uvicorn
    from fastapi.responses import JSONResponse
    pool = multiprocessing.Pool(processes)
    pool.map(identity, range(processes))
    app, jobs = fastapi.FastAPI(), {}

    @app.post("/jobs")
    async def submit(request: fastapi.Request):
        jobs[len(jobs)] = pool.map_async(identity, await request.json())
        return {"id": len(jobs) - 1}

    @app.get("/jobs/{job}")
    async def status(job: int):
        return {"done": jobs[job].ready()}

    @app.get("/jobs/{job}/results")
    def results(job: int):
        result, jobs[job] = jobs[job].get(), None
        return JSONResponse(result)

    def end_with_stdin():
        sys.stdin.read()
        pool.terminate()
        os._exit(0)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


def main():
    peer, *rest = sys.argv[1:]
    if peer == "serve":
        return serve(int(rest[0]))
    workload, processes, tasks = rest
    kinds = {"map": pool_map, "apply": pool_apply, "executor": executor, "fastapi": fastapi}
    try:
        run = kinds[peer](workload, int(processes), int(tasks))
    except ImportError as error:
        return print(json.dumps({"missing": "%s is not installed" % error.name}), flush=True)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"seconds": run()}), flush=True)


if __name__ == "__main__":
    main()
