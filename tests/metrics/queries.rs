//! The dashboard and the rules for alerts ask only for what there is: each metric, and each label of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::common::{Server, check, eventually};
use crate::scrape::Scrape;

const DASHBOARD: &str = include_str!("../../docker/grafana/gristmill.json");
const RULES: &str = include_str!("../../docker/prometheus/gristmill.rules.yaml");
/// What Prometheus adds.
const ADDED: [&str; 2] = ["instance", "job"];

/// A page with at least one sample of every metric.
fn full_page() -> Scrape {
    let server = Server::start();
    let failing = json!({"function": "fail", "inputs": [{"mode": "exit"}], "max_attempts": 2});
    server.submit(&failing).wait();
    let job = server.map("sleep", &json!([60]));
    let lines = server.client().lines(&format!("{}/results?follow=true", job.path()));
    let page = eventually("a sample of every metric", || {
        check(Scrape::of(&server), |page| {
            page.types.iter().all(|(name, kind)| {
                page.samples.contains_key(&if kind == "histogram" {
                    format!("{name}_count")
                } else {
                    name.clone()
                })
            })
        })
    });
    drop(lines);
    page
}

/// The names, and the labels that a query speaks of.
fn words_of(query: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let (mut metrics, mut labels) = (BTreeSet::new(), BTreeSet::new());
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut rest = query;
    while let Some(start) = rest.find(is_word) {
        let before = rest[..start].trim_end().chars().last();
        let word =
            &rest[start..start + rest[start..].find(|letter| !is_word(letter)).unwrap_or(rest.len() - start)];
        rest = &rest[start + word.len()..];
        if word.starts_with("gristmill_") || word.starts_with("process_") || word == "up" {
            metrics.insert(word);
        } else if ["=", "!="].iter().any(|sign| rest.starts_with(sign))
            && before.is_some_and(|b| "{,".contains(b))
        {
            labels.insert(word);
            // The value, which may hold anything.
            rest = rest.split_once('"').and_then(|(_, rest)| rest.split_once('"')).unwrap().1;
        } else if word == "by" {
            let (group, behind) = rest.trim_start()[1..].split_once(')').unwrap();
            labels.extend(group.split(',').map(str::trim));
            rest = behind;
        }
    }
    (metrics, labels)
}

#[track_caller]
fn is_answered(page: &Scrape, query: &str, more_labels: &[&str]) {
    let (metrics, mut labels) = words_of(query);
    assert!(!metrics.is_empty(), "{query}");
    let mut known: BTreeSet<&str> = ADDED.into();
    for metric in metrics.into_iter().filter(|metric| *metric != "up") {
        let samples = page.samples.get(metric).unwrap_or_else(|| panic!("there is no {metric}: {query}"));
        known.extend(samples.keys().flat_map(|labels| labels.keys().map(String::as_str)));
    }
    labels.extend(more_labels);
    let unknown: Vec<_> = labels.difference(&known).collect();
    assert!(unknown.is_empty(), "no label {unknown:?}: {query}");
}

/// The labels that a text for people names: `{{label}}`, or `{{ $labels.label }}`.
fn named(text: &str) -> Vec<&str> {
    let names = text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim());
    names.map(|name| name.trim_start_matches("$labels.")).collect()
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let page = full_page();
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut asked = String::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            is_answered(&page, query, &named(target["legendFormat"].as_str().unwrap()));
            asked += query;
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["definition"].as_str() {
            is_answered(&page, query, &[]);
        }
    }
    let is_asked = |family: &String| family.starts_with("process_") || asked.contains(family.as_str());
    let left: Vec<_> = page.types.keys().filter(|family| !is_asked(family)).collect();
    assert_eq!(
        left,
        ["gristmill_build_info", "gristmill_worker_starts_total"],
        "metrics that nobody looks at"
    );
}

#[test]
fn the_rules_ask_for_what_there_is() {
    let page = full_page();
    let rules = RULES.split("- alert: ").skip(1);
    let value = |rule: &str, key: &str| {
        rule.lines().find_map(|line| line.trim().strip_prefix(key).map(|text| text.trim().to_owned()))
    };
    let mut count = 0;
    for rule in rules {
        let query = value(rule, "expr:").unwrap();
        is_answered(&page, &query, &named(&value(rule, "summary:").unwrap()));
        count += 1;
    }
    assert!(count >= 8);
}

#[test]
fn queries_are_taken_apart() {
    let query = r#"histogram_quantile(0.9, sum by (function, le) (rate(gristmill_x_bucket{a=~"$b",c!="d"}[5m]))) > process_y"#;
    let (metrics, labels) = words_of(query);
    assert_eq!(metrics, ["gristmill_x_bucket", "process_y"].into());
    assert_eq!(labels, ["function", "le", "a", "c"].into());
    assert_eq!(named("{{a}} of {{ $labels.b }}"), ["a", "b"]);
}
