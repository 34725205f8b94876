//! Bodies to segments on the way in, and segments to result lines on the way out.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gristmill::http::inputs::{InputArray, SegmentBuilder};
use gristmill::http::render::{Fields, Rendering};
use gristmill::model::segment::{ResultBody, Used};
use gristmill::model::{Outcomes, ResultSegment};
use gristmill::protocol::LineSplitter;
use gristmill::protocol::json;
use gristmill::store::Order;
use serde::Deserialize;

const MILLION: u64 = 1_000_000;
/// A body comes in pieces of so many bytes.
const PIECE: usize = 1 << 16;

fn numbers(count: u64, separator: char) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        write!(text, "{number}{separator}").expect("writing to a String cannot fail");
        text
    })
}

/// As a streamed submit does it.
fn ndjson(criterion: &mut Criterion) {
    let body = numbers(MILLION, '\n');
    let mut group = criterion.benchmark_group("NDJSON to segments");
    group.throughput(Throughput::Elements(MILLION));
    group.bench_function("1,000,000 integers", |bencher| {
        bencher.iter(|| {
            let (mut splitter, mut inputs) = (LineSplitter::new(1 << 20), SegmentBuilder::default());
            for piece in body.as_bytes().chunks(PIECE) {
                let outcome = splitter.feed(piece, |line| -> Result<(), Box<dyn std::error::Error>> {
                    json::check(line)?;
                    inputs.push(line);
                    Ok(())
                });
                outcome.expect("every line is an integer");
            }
            inputs.finish().1
        });
    });
    group.finish();
}

fn array(criterion: &mut Criterion) {
    #[derive(Deserialize)]
    struct Body {
        inputs: InputArray,
    }
    let body = format!("{{\"inputs\":[{}]}}", numbers(MILLION, ',').trim_end_matches(','));
    let mut group = criterion.benchmark_group("JSON array to segments");
    group.throughput(Throughput::Elements(MILLION));
    group.bench_function("1,000,000 integers", |bencher| {
        bencher.iter(|| {
            let Body { inputs } = serde_json::from_str(black_box(&body)).expect("the body is valid");
            inputs.0.finish().1
        });
    });
    group.finish();
}

fn results(criterion: &mut Criterion) {
    const COUNT: u64 = 10_000;
    let mut outcomes = Outcomes::default();
    (0..COUNT).for_each(|at| outcomes.push(1_000 + at, false));
    let used = Used { span: None, busy_ns: 60_000_000, cpu_ns: 60_000_000 };
    let lines = numbers(COUNT, '\n').into();
    let body = ResultBody::Ran { worker: "worker-1".into(), pid: 42, outcomes, lines, used };
    let segment = ResultSegment { first_seq: 1, first_index: 0, count: COUNT, attempt: 1, body };
    let mut group = criterion.benchmark_group("segment to results");
    group.throughput(Throughput::Elements(COUNT));
    for (name, fields) in [("full", Fields::All), ("bare", Fields::Output)] {
        let render = |segment| {
            let mut out = Vec::with_capacity(2 << 20);
            Rendering::new(segment, Order::Completion, 0).render(&mut out, COUNT, usize::MAX, fields);
            out
        };
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| segment.clone(), render, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn configuration() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
}

criterion_group!(name = benches; config = configuration(); targets = ndjson, array, results);
criterion_main!(benches);
