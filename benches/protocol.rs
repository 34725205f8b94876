//! Bytes to messages and back: what the server does for each line of a body and for each chunk of a worker.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gristmill::model::JobId;
use gristmill::protocol::frames::encode_done;
use gristmill::protocol::{Answer, LineSplitter, LineTooLong, Run, Usage};
use uuid::Uuid;

/// A body comes in pieces of so many bytes.
const PIECE: usize = 1 << 16;

fn numbers(count: usize, separator: char) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        write!(text, "{number}{separator}").expect("writing to a String cannot fail");
        text
    })
}

fn lines(criterion: &mut Criterion) {
    let body = numbers(100_000, '\n');
    let mut group = criterion.benchmark_group("lines");
    group.throughput(Throughput::Elements(100_000));
    group.bench_function("100,000 integers", |bencher| {
        bencher.iter(|| {
            let (mut splitter, mut bytes) = (LineSplitter::new(1 << 20), 0);
            for piece in body.as_bytes().chunks(PIECE) {
                let count = |line: &[u8]| {
                    bytes += line.len();
                    Ok::<(), LineTooLong>(())
                };
                splitter.feed(piece, count).expect("no line is too long");
            }
            bytes
        });
    });
    group.finish();
}

fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("run");
    for count in [1, 1_000, 10_000] {
        let inputs = numbers(count, '\n');
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} integers"), |bencher| {
            let mut message = Vec::new();
            bencher.iter(|| {
                message.clear();
                Run::encode(&mut message, JobId(Uuid::nil()), (0, 1), None, inputs.as_bytes());
                black_box(message.len())
            });
        });
    }
    group.finish();
}

fn done(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("done");
    for count in [1_000, 10_000] {
        let outputs = numbers(count, ',');
        let mut message = Vec::new();
        let list = outputs.trim_end_matches(',').as_bytes();
        encode_done(&mut message, 0, list, list, Usage::default());
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} integers"), |bencher| {
            bencher.iter(|| match Answer::decode(black_box(&message[1..])) {
                Ok(Answer::Done(done)) => done.outputs.len(),
                other => panic!("{other:?}"),
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lines, run, done);
criterion_main!(benches);
