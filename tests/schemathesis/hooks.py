"""What OpenAPI cannot say, told to schemathesis. Each hook has its reason; none hides an answer of the server."""

import json
import os

import schemathesis
from schemathesis import GenerationMode

jobs = []


def is_positive(case):
    """Whether nothing of the request is to be wrong. One without a plan is made of examples, which are right."""
    if case.meta is None:
        return True
    modes = [case.meta.generation.mode] + [part.mode for part in case.meta.components.values()]
    return all(mode == GenerationMode.POSITIVE for mode in modes)


def is_right(case, name):
    """Whether this part of the request is not to be wrong."""
    parts = case.meta.components.items() if case.meta else []
    return all(part.mode == GenerationMode.POSITIVE for place, part in parts if place.name == name)


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


def are_json(lines):
    try:
        for line in lines:
            json.loads(line, parse_constant=refuse)
    except ValueError:
        return False
    return True


@schemathesis.serializer("application/x-ndjson")
def as_lines(ctx, value):
    """A text of JSON lines is any text to OpenAPI 3.1: make lines of it, or surely none where it is to be wrong."""
    lines = value.split("\n") if isinstance(value, str) else [str(value)]
    lines = [line for line in lines if line.strip()]
    if not is_positive(ctx.case) and not is_map(ctx.case):
        return ("[" + "\n".join(lines)).encode()
    if not are_json(lines):
        lines = [json.dumps(line) for line in lines]
    return "".join(line + "\n" for line in lines).encode()


@schemathesis.hook
def filter_case(ctx, case):
    """A map tells what is wrong with a line behind the head of its answer, and cuts it, which is an error of the network to
    schemathesis: tests/openapi.rs holds that to the document."""
    body = [part.mode for place, part in case.meta.components.items() if place.name == "BODY"] if case.meta else []
    return not (is_map(case) and GenerationMode.NEGATIVE in body)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Parameters cannot go with one of two bodies only: here, with a JSON body the options stand in the body, and a
    stream needs the function in the query. Nor can it be said that no two labels have one key, or that the failed
    results have no order of the inputs."""
    # The events of a job end with it: those of one that is open, or runs for long, are not waited for.
    if operation_id(case) == "followJob" and is_right(case, "PATH"):
        case.path_parameters["id"] = os.environ["ENDED_JOB"]
        return
    if not is_positive(case):
        return
    if jobs and "id" in (case.path_parameters or {}) and case.meta and case.meta.phase.name != "stateful":
        case.path_parameters["id"] = jobs[-1]
    if operation_id(case) == "getResults" and "failed" in (case.query or {}):
        case.query.pop("order", None)
    # An open job may never end, so nothing is held for its end for long.
    if "wait" in (case.query or {}):
        case.query["wait"] = "50ms"
    if "follow" in (case.query or {}):
        case.query["follow"] = "false"
    if operation_id(case) == "submitJob":
        is_json = case.media_type == "application/json"
        case.query = {} if is_json else {"function": "echo", **(case.query or {})}
    if isinstance((case.query or {}).get("label"), list):
        case.query["label"] = list({label.split("=")[0]: label for label in case.query["label"]}.values())


@schemathesis.hook
def after_call(ctx, case, response):
    """An id that is made up names no job: calls by themselves go to the newest, those of a scenario to its own."""
    if operation_id(case) == "submitJob" and response.status_code in (200, 202):
        jobs.append(response.json()["id"])


def is_map(case):
    return operation_id(case) in ("map", "mapByPut")


def operation_id(case):
    return case.operation.definition.raw.get("operationId")
