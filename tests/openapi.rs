//! The contract: what `/openapi.json` says of each answer is what the server answers.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::collections::BTreeSet;

use common::Server;
use common::client::{Answer, JSON, NDJSON};
use common::events::Event;
use common::job::Job;
use serde_json::{Value, json};

/// The document of a server, and which operations were seen to answer as it says.
struct Contract<'s> {
    server: &'s Server,
    document: Value,
    seen: BTreeSet<String>,
}

impl<'s> Contract<'s> {
    fn of(server: &'s Server) -> Self {
        let document = server.get("/openapi.json").expect(200).json();
        Self { server, document, seen: BTreeSet::new() }
    }

    /// Calls an operation; its status, content type and body must be as described.
    #[track_caller]
    fn call(
        &mut self,
        operation: &str,
        values: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let (method, path) = operation.split_once(' ').unwrap();
        let (template, query) = path.split_once('?').unwrap_or((path, ""));
        let described = &self.document["paths"][template][method.to_lowercase()];
        assert!(described.is_object(), "{operation} is not described");
        let filled = values
            .iter()
            .fold(template.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
        let answer = self.server.client().call(method, &format!("{filled}?{query}"), headers, body);
        self.fits(described, &answer);
        self.seen.insert(described["operationId"].as_str().unwrap().to_owned());
        answer
    }

    /// An event of the stream at this path, and its data, are as described.
    #[track_caller]
    fn is_event(&self, path: &str, event: &Event) {
        let content = &self.document["paths"][path]["get"]["responses"]["200"]["content"];
        let schema = &content["text/event-stream"]["schema"];
        let whole = json!({"event": event.name, "id": event.id, "data": event.data.to_string()});
        self.is_valid(schema, &whole.to_string());
        let schema = self.document.pointer(schema["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap();
        let kinds = schema["oneOf"].as_array().unwrap();
        let kind = kinds.iter().find(|kind| kind["properties"]["event"]["enum"][0] == event.name).unwrap();
        self.is_valid(&kind["properties"]["data"]["contentSchema"], &event.data.to_string());
    }

    #[track_caller]
    fn fits(&self, described: &Value, answer: &Answer) {
        let response = &described["responses"][answer.status.to_string()];
        let response = match response["$ref"].as_str() {
            Some(reference) => self.document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => response,
        };
        assert!(response.is_object(), "{} is not described: {answer:#?}", answer.status);
        let Some(content) = response["content"].as_object() else {
            return assert_eq!(answer.text, "", "no body is described");
        };
        let media_type = answer.header("content-type").split(';').next().unwrap();
        let schema =
            &content.get(media_type).unwrap_or_else(|| panic!("{media_type}: {answer:#?}"))["schema"];
        if media_type == NDJSON {
            let line = &schema["contentSchema"]["items"];
            answer.text.lines().for_each(|text| self.is_valid(line, text));
        } else if media_type == "text/event-stream" {
            // Its events are held to the document one by one.
        } else if !media_type.ends_with("json") {
            self.is_valid(schema, &Value::from(answer.text.as_str()).to_string());
        } else {
            self.is_valid(schema, &answer.text);
        }
    }

    #[track_caller]
    fn is_valid(&self, schema: &Value, text: &str) {
        let mut root = schema.clone();
        root["components"] = self.document["components"].clone();
        let value: Value = serde_json::from_str(text).unwrap();
        if let Err(error) = jsonschema::validator_for(&root).unwrap().validate(&value) {
            panic!("{text} is not as described: {error} at {}", error.instance_path());
        }
    }

    fn operations(&self) -> BTreeSet<String> {
        let items = self.document["paths"].as_object().unwrap().values();
        let operations = items.flat_map(|item| item.as_object().unwrap().values());
        operations.map(|operation| operation["operationId"].as_str().unwrap().to_owned()).collect()
    }
}

const AS_JSON: [(&str, &str); 1] = [("Content-Type", JSON)];
const AS_LINES: [(&str, &str); 1] = [("Content-Type", NDJSON)];
const PAGE: [(&str, &str); 1] = [("Accept", JSON)];

#[test]
fn answers_are_as_described() {
    let server = Server::with(&["--processes=4"]);
    let mut contract = Contract::of(&server);
    let inputs = json!([{"mode": "exit"}, "no object", {"mode": "exit"}]);
    let job = server.submit(&json!({"function": "fail", "inputs": inputs, "max_attempts": 1}));
    job.wait();
    let id = [("id", job.id.as_str())];
    let open =
        server.submit(&json!({"function": "echo", "open": true, "lock": "disk", "labels": {"team": "x"}}));
    let open_id = [("id", open.id.as_str())];
    let stuck = server.submit(&json!({"function": "sleep", "inputs": [60, 60]}));
    let stuck_worker = stuck.wait_for_running(2)[0]["worker"].as_str().unwrap().to_owned();
    let stuck_id = [("id", stuck.id.as_str())];

    let submit =
        r#"{"function": "sha256", "inputs": ["a"], "timeout": 0.5, "lock": {"name": "disk", "permits": 2}}"#;
    contract.call("POST /v1/jobs", &[], &AS_JSON, submit).expect(202);
    contract.call("POST /v1/jobs", &[], &[AS_JSON[0], ("Prefer", "wait=30")], submit).expect(200);
    contract.call("POST /v1/jobs?function=echo&label=team=x", &[], &AS_LINES, "1\n2\n").expect(202);
    contract.call("POST /v1/jobs", &[], &AS_JSON, r#"{"function": "none", "inputs": []}"#).expect(404);
    contract.call("POST /v1/jobs", &[], &AS_JSON, "{").expect(400);
    let refused = r#"{"function": "echo", "inputs": [], "callback_url": "https://example.com"}"#;
    contract.call("POST /v1/jobs", &[], &AS_JSON, refused).expect(422);
    contract.call("GET /v1/jobs?label=team=x&limit=1", &[], &[], "").expect(200);
    contract.call("GET /v1/jobs?state=asleep", &[], &[], "").expect(400);
    contract.call("GET /v1/jobs/{id}?wait=30s", &id, &[], "").expect(200);
    contract.call("GET /v1/jobs/{id}", &stuck_id, &[], "").expect(200);
    contract.call("GET /v1/jobs/{id}", &[("id", "none")], &[], "").expect(404);
    for (query, headers) in
        [("", &[][..]), ("", &PAGE), ("?fields=output", &PAGE), ("?order=input&limit=1", &PAGE)]
    {
        contract.call(&format!("GET /v1/jobs/{{id}}/results{query}"), &id, headers, "").expect(200);
    }
    for headers in [&[][..], &PAGE] {
        contract.call("GET /v1/jobs/{id}/logs", &id, headers, "").expect(200);
    }
    contract.call("GET /v1/jobs/{id}/timeline?limit=1", &id, &[], "").expect(200);
    contract.call("GET /v1/jobs/{id}/timeline", &stuck_id, &[], "").expect(200);
    contract.call("GET /v1/jobs/{id}/timeline?limit=0", &id, &[], "").expect(400);
    contract.call("POST /v1/jobs/{id}/inputs", &open_id, &AS_JSON, r#"{"inputs": [1]}"#).expect(202);
    contract.call("POST /v1/jobs/{id}/pause", &open_id, &[], "").expect(200);
    contract.call("POST /v1/jobs/{id}/resume", &open_id, &[], "").expect(200);
    contract.call("POST /v1/jobs/{id}/close", &open_id, &[], "").expect(200);
    contract.call("POST /v1/jobs/{id}/inputs", &open_id, &AS_LINES, "1\n").expect(409);
    contract.call("POST /v1/jobs/{id}/retry", &id, &[], "").expect(202);
    contract.call("DELETE /v1/jobs/{id}", &stuck_id, &[], "").expect(409);
    contract.call("GET /v1/pool", &[], &[], "").expect(200);
    contract.call("PATCH /v1/pool", &[], &AS_JSON, r#"{"slots": 3}"#).expect(200);
    contract.call("PATCH /v1/pool", &[], &[("Content-Type", "text/plain")], "3").expect(415);
    let its_name = [("name_or_pid", stuck_worker.as_str())];
    contract.call("DELETE /v1/workers/{name_or_pid}", &its_name, &[], "").expect(202);
    contract.call("POST /v1/jobs/{id}/cancel", &stuck_id, &[], "").expect(202);
    job.wait();
    contract.call("DELETE /v1/jobs/{id}/results?through=1", &id, &[], "").expect(200);
    contract.call("DELETE /v1/jobs/{id}", &id, &[], "").expect(204);
    contract.call("GET /v1/functions", &[], &[], "").expect(200);
    for method in ["POST", "PUT"] {
        let map = format!("{method} /v1/map/{{function}}?order=completion");
        contract.call(&map, &[("function", "echo")], &AS_LINES, "1\n2\n").expect(200);
    }
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        contract.call(&format!("GET {path}"), &[], &[], "").expect(200);
    }
    let last = server.map("echo", &json!([1]));
    last.wait();
    let last_id = [("id", last.id.as_str())];
    contract.call("GET /v1/jobs/{id}/events", &last_id, &[], "").expect(200);
    contract.call("GET /v1/jobs/{id}/events", &[("id", "none")], &[], "").expect(404);
    // What does not end by itself has a test of its own, below.
    let left: BTreeSet<_> = contract.operations().difference(&contract.seen).cloned().collect();
    assert_eq!(left, BTreeSet::from(["followServer".to_owned()]), "operations that were not tried");
}

#[test]
fn answers_without_the_results_that_were_freed_are_as_described() {
    let server = Server::start();
    let mut contract = Contract::of(&server);
    let headers = [AS_JSON[0], ("Prefer", "wait=30"), ("Idempotency-Key", "once")];
    let mut submit = || {
        let body = r#"{"function": "sha256", "inputs": [1]}"#;
        contract.call("POST /v1/jobs", &[], &headers, body).expect(200)
    };
    let job = Job::of(&server, &submit());
    server.delete(&format!("{}/results?through=1", job.path())).expect(200);
    assert!(submit().json()["results"].is_null());
    let id = [("id", job.id.as_str())];
    contract.call("POST /v1/jobs/{id}/retry", &id, &[], "").expect(410);
    contract.call("GET /v1/jobs/{id}/results", &id, &[], "").expect(410);
}

const OF_JOB: &str = "/v1/jobs/{id}/events";
const OF_SERVER: &str = "/v1/events";

#[test]
fn events_are_as_described() {
    let server = Server::with(&["--processes=2"]);
    let contract = Contract::of(&server);
    let follow = |path: &str| server.client().events(path, None);
    let mut of_server = follow(OF_SERVER);
    let job = server.submit(&json!({"function": "sleep", "inputs": [0.2, 0.3, 0.1], "open": true}));
    let of_job = follow(&format!("{}/events", job.path())).inspect(|event| contract.is_event(OF_JOB, event));
    let mut names = of_job.map(|event| event.name);
    // Its first event is read before it may end.
    let first = names.next();
    server.post_json(&format!("{}/close", job.path()), "").expect(200);
    let names: Vec<_> = first.into_iter().chain(names).collect();
    assert!(names.len() > 2 && names.ends_with(&["job".to_owned(), "end".to_owned()]), "{names:?}");
    let open = server.submit(&json!({"function": "echo", "open": true}));
    let mut of_open = follow(&format!("{}/events", open.path()));
    contract.is_event(OF_JOB, &of_open.named("job"));
    open.cancel();
    contract.is_event(OF_JOB, &of_open.named("end"));
    server.delete(&job.path()).expect(204);
    let mut left = BTreeSet::from(["pool", "jobs", "tasks", "forgotten"]);
    while !left.is_empty() {
        let event = of_server.next().unwrap_or_else(|| panic!("the stream ended without {left:?}"));
        contract.is_event(OF_SERVER, &event);
        left.remove(event.name.as_str());
    }
    // For one who was at a place that there never was.
    contract.is_event(OF_SERVER, &server.client().events(OF_SERVER, Some("1-99999999")).named("reset"));
}

/// What is wrong with a map's body is told behind the head of its answer: the last line is the problem, and the body is cut.
#[test]
fn wrong_bodies_of_a_map_are_answered_as_described() {
    let server = Server::with(&["--processes=2"]);
    let mut contract = Contract::of(&server);
    let function = [("function", "echo")];
    for method in ["POST", "PUT"] {
        let operation = contract.document["paths"]["/v1/map/{function}"][method.to_lowercase()].clone();
        let deep = format!("{}1{}", "[".repeat(70), "]".repeat(70));
        for (body, results) in
            [("{", 0), ("1\n2\nthree\n4\n", 2), (&deep, 0), ("1\n\u{0}", 1), ("[1]\n[2", 1)]
        {
            let answer = server.client().call_to_cut(method, "/v1/map/echo", &AS_LINES, body).expect(200);
            contract.fits(&operation, &answer);
            let lines: Vec<Value> =
                answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let (last, before) = lines.split_last().unwrap();
            assert_eq!((&last["status"], before.len()), (&json!(400), results), "{body:?}: {lines:#?}");
            contract.is_valid(&json!({"$ref": "#/components/schemas/Problem"}), &last.to_string());
        }
        let map = format!("{method} /v1/map/{{function}}");
        contract.call(&map, &function, &AS_JSON, "[1]").expect(415);
        contract.call(&map, &function, &[("Content-Type", "text/plain")], "1").expect(415);
        contract.call(&map, &[("function", "none")], &AS_LINES, "1\n").expect(404);
        contract.call(&format!("{map}?open=true"), &function, &AS_LINES, "1\n").expect(400);
    }
}

#[test]
fn the_document_needs_no_token() {
    let home = tempfile::TempDir::new().unwrap();
    let token = [("GRISTMILL_TOKEN", "0123456789abcdef0123456789abcdef")];
    let server = Server::launch(home, &["--processes=1"], &token).unwrap();
    let mut contract = Contract::of(&server);
    assert_eq!(contract.document["openapi"], "3.1.0");
    contract.call("GET /v1/pool", &[], &[], "").expect(401);
    contract.call("GET /v1/events", &[], &[], "").expect(401);
    contract.call("GET /v1/jobs/{id}/events", &[("id", "none")], &[], "").expect(401);
}

#[test]
fn a_query_that_is_no_text_is_refused() {
    let server = Server::start();
    server.get("/v1/jobs?function=%FF").problem(400, "bad-request");
    server.get("/v1/jobs?function=%C3%A9").expect(200);
    server.post_ndjson("/v1/jobs?function=echo&name=%ff", "1\n").problem(400, "bad-request");
}
