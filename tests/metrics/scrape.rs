//! A page of metrics as a strict reader takes it.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::Server;

pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text";

/// Labels and their values, in the order of the names.
pub(crate) type Labels = BTreeMap<String, String>;

/// A page that holds what the format asks for.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    /// Family → type.
    pub(crate) types: BTreeMap<String, String>,
    /// Sample → labels → value.
    pub(crate) samples: BTreeMap<String, BTreeMap<Labels, f64>>,
}

impl Scrape {
    /// The page as Prometheus' own text format has it.
    #[track_caller]
    pub(crate) fn of(server: &Server) -> Self {
        let answer = server.get("/metrics").expect(200);
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        Self::parse(&answer.text)
    }

    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let (mut scrape, mut helps) = (Self::default(), BTreeSet::new());
        let mut family = String::new();
        assert!(text.ends_with('\n'), "{text:?}");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').unwrap_or_else(|| panic!("no help: {line:?}"));
                assert!(words.ends_with('.') && helps.insert(name.to_owned()), "{line:?}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(helps.contains(name), "no help before {line:?}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line:?}");
                name.clone_into(&mut family);
                assert!(scrape.types.insert(family.clone(), kind.to_owned()).is_none(), "twice: {line:?}");
            } else {
                scrape.add(&family, line);
            }
        }
        scrape.histograms_add_up();
        scrape
    }

    #[track_caller]
    fn add(&mut self, family: &str, line: &str) {
        let (head, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
        let (name, labels) = head.split_once('{').map_or((head, ""), |(name, rest)| {
            (name, rest.strip_suffix('}').unwrap_or_else(|| panic!("no end: {line:?}")))
        });
        let kind = &self.types[family];
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{name} in {family}"));
        let fits = match kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
            "counter" => suffix.is_empty() && name.ends_with("_total"),
            _ => suffix.is_empty() && !name.ends_with("_total"),
        };
        assert!(fits && is_name(name), "{line:?} in {family}, a {kind}");
        let number: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
        assert!(number.is_finite() && number >= 0.0, "{line:?}");
        let known = self.samples.entry(name.to_owned()).or_default().insert(labels_of(labels), number);
        assert!(known.is_none(), "twice: {line:?}");
    }

    #[track_caller]
    fn histograms_add_up(&self) {
        for family in self.types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let Some(counts) = self.samples.get(&format!("{family}_count")) else { continue };
            for (labels, count) in counts {
                let mut buckets: Vec<(f64, f64)> = self.samples[&format!("{family}_bucket")]
                    .iter()
                    .filter(|(its, _)| labels.iter().all(|(name, value)| its.get(name) == Some(value)))
                    .map(|(its, below)| (its["le"].parse().unwrap(), *below))
                    .collect();
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{family} {labels:?}: {buckets:?}");
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{family} {labels:?}");
                assert!(self.samples[&format!("{family}_sum")].contains_key(labels));
            }
        }
    }

    /// The value of the one sample of this name that has these labels and no others.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels)
            .unwrap_or_else(|| panic!("no {name} {labels:?} in {:#?}", self.samples.get(name)))
    }

    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.samples.get(name)?.get(&labels).copied()
    }

    /// The sum of all samples of this name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.samples.get(name).map_or(0.0, |samples| samples.values().sum())
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

#[track_caller]
fn labels_of(mut text: &str) -> Labels {
    let mut labels = Labels::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap_or_else(|| panic!("no label: {text:?}"));
        // No label of this server's has a quote in it.
        let (value, rest) = rest.split_once('"').unwrap_or_else(|| panic!("no label: {text:?}"));
        assert!(is_name(name) && !value.contains('\\'), "{text:?}");
        assert!(labels.insert(name.to_owned(), value.to_owned()).is_none(), "twice: {text:?}");
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    labels
}
