use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

fn document() -> Value {
    serde_json::from_slice(&finish(crate::http::api().into_openapi()).0).unwrap()
}

/// Each object in a value, with where it is.
fn visit(value: &Value, place: &str, see: &mut impl FnMut(&str, &Value)) {
    see(place, value);
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| visit(member, &format!("{place}/{name}"), see))
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, place, see)),
        _ => {}
    }
}

fn each_operation(document: &Value, mut see: impl FnMut(&str, &Value)) {
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            see(&format!("{method} {path}"), operation);
        }
    }
}

/// A route that is added beside the documented ones is missing from the document; but for the pages.
#[test]
fn every_route_but_the_pages_is_in_the_document() {
    let source = include_str!("../mod.rs");
    for beside in [".route(", ".route_service(", ".nest(", ".nest_service("] {
        assert!(
            !source.contains(beside),
            "{beside} has no documentation: .routes(at(\"/path\", routes!(…)))"
        );
    }
    let merged = source.split(".merge(").skip(1).map(|rest| rest.split("::").next().unwrap());
    assert_eq!(merged.collect::<Vec<_>>(), ["dashboard", "docs"], "what is merged are pages for people");
    let documented = document();
    for at in source.split("at(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(documented["paths"][at].is_object(), "{at} is missing from the document");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    visit(&document, "", &mut |place, value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
            assert!(target.is_some(), "{place}: {reference} leads nowhere");
        }
    });
}

#[test]
fn every_operation_says_what_it_does() {
    let document = document();
    let tags: BTreeSet<&str> = TAGS.iter().map(|(name, _)| *name).collect();
    let mut ids = BTreeSet::new();
    each_operation(&document, |what, operation| {
        let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        assert!(text(&operation["summary"]), "{what} has no summary");
        let id = operation["operationId"].as_str().unwrap();
        assert!(id.starts_with(char::is_lowercase) && !id.contains('_'), "{what}: {id} is no camelCase");
        assert!(ids.insert(id.to_owned()), "{what}: another operation is called {id} too");
        let tag = operation["tags"][0].as_str().unwrap();
        assert!(tags.contains(tag), "{what}: the tag {tag} is not described");
        let statuses: Vec<&String> = operation["responses"].as_object().unwrap().keys().collect();
        assert!(statuses.iter().any(|status| status.starts_with('2')), "{what}: {statuses:?}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(text(&parameter["description"]), "{what}: {parameter} is not described");
        }
    });
}

/// An error is a problem, and says so.
#[test]
fn every_error_is_a_problem() {
    let document = document();
    each_operation(&document, |what, operation| {
        for (status, answer) in operation["responses"].as_object().unwrap() {
            if status.starts_with('2') {
                continue;
            }
            let shared = answer["$ref"]
                .as_str()
                .and_then(|reference| document.pointer(reference.trim_start_matches('#')));
            let content = &shared.unwrap_or(answer)["content"];
            assert!(content["application/problem+json"].is_object(), "{what} {status}: {answer}");
        }
    });
}

#[test]
fn examples_are_what_they_show() {
    let document = document();
    let mut seen = 0;
    visit(&document["components"]["schemas"], "", &mut |place, schema| {
        if place.ends_with("/properties") {
            return;
        }
        let several = schema.get("examples").and_then(Value::as_array).into_iter().flatten();
        for example in several.chain(schema.get("example")) {
            let mut root = schema.clone();
            root["components"] = document["components"].clone();
            let validator = jsonschema::validator_for(&root).unwrap();
            if let Err(error) = validator.validate(example) {
                panic!("{place}: {example}: {error}");
            }
            seen += 1;
        }
    });
    assert!(seen > 10, "{seen} examples");
}

#[test]
fn durations_of_the_pattern_are_taken() {
    let pattern = json!({"type": "string", "pattern": schemas::DURATION});
    let pattern = jsonschema::validator_for(&pattern).unwrap();
    for text in ["0", "5", "500ms", "30s", "1m30s", "12h5m", "7d", "0.5", "1.5s", "9999h"] {
        assert!(pattern.is_valid(&json!(text)), "{text}");
        assert!(crate::units::duration(text).is_ok(), "{text}");
    }
    assert!(!pattern.is_valid(&json!("soon")));
}
