//! Workloads of many small requests: one after the other, and many at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::disk;
use super::measure::{Run, percentile};
use super::target::Target;
use super::wire::Wire;

const CLIENTS: u64 = 32;
const CLIENTS_FOR: Duration = Duration::from_secs(3);
const BODY: &str = r#"{"function":"echo","inputs":[4711]}"#;
const OUTPUT: &[u8] = br#""output":4711"#;
/// The bar for one small task: so many syncs, and so many milliseconds for all the rest.
const SYNCS: f64 = 3.0;
const REST_MS: f64 = 0.2;

/// One small task alone, so many times, with as many syncs of the disk beside it, half of them before and half after.
pub(super) fn latency(target: &Target, times: u64) -> Result<Run> {
    let mut wire = target.wire()?;
    one(&mut wire)?;
    let mut syncs = disk::syncs_ms(&target.dir, times.div_ceil(2))?;
    let (costs, walls) = costs(target, || (0..times).map(|_| one(&mut wire)).collect::<Result<Vec<_>>>())?;
    syncs.extend(disk::syncs_ms(&target.dir, times.div_ceil(2))?);
    let (p50, p99, sync) = (percentile(&walls, 0.5), percentile(&walls, 0.99), percentile(&syncs, 0.5));
    let figures = [
        ("p50_ms", p50),
        ("p99_ms", p99),
        ("fdatasync_p50_ms", sync),
        ("p50_over_fdatasync", p50 / sync),
        ("p50_over_bar", p50 / (SYNCS * sync + REST_MS)),
    ];
    Ok(costs.run(p50 / 1e3, 1e3 / p50, times, figures))
}

/// Many clients, each with one small task after the other.
pub(super) fn clients(target: &Target, scale: f64) -> Result<Run> {
    let lasts = CLIENTS_FOR.mul_f64(scale);
    let client = || -> Result<u64> {
        let (mut wire, since, mut jobs) = (target.wire()?, Instant::now(), 0);
        while since.elapsed() < lasts || jobs == 0 {
            one(&mut wire)?;
            jobs += 1;
        }
        Ok(jobs)
    };
    one(&mut target.wire()?)?;
    let since = Instant::now();
    let (costs, jobs) = costs(target, || {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            let jobs = clients.into_iter().map(|client| {
                client.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a client of the benchmark panicked")))
            });
            jobs.sum::<Result<u64>>()
        })
    })?;
    let wall_s = since.elapsed().as_secs_f64();
    let rate = jobs as f64 / wall_s;
    Ok(costs.run(wall_s, rate, jobs, [("jobs_per_s", rate)]))
}

/// Milliseconds for one small task, from the first byte of its request to the last of its result.
fn one(wire: &mut Wire) -> Result<f64> {
    let (request, mut answer) = (wire.request("POST", "/v1/jobs", BODY), Vec::with_capacity(4096));
    let since = Instant::now();
    wire.exchange(&request, &mut answer)?;
    let took = since.elapsed().as_secs_f64() * 1e3;
    let right = memchr::memmem::find(&answer, OUTPUT).is_some();
    ensure!(right, "a wrong answer: {}", String::from_utf8_lossy(&answer));
    Ok(took)
}

struct Costs {
    server_s: Option<f64>,
    workers_s: Option<f64>,
    peak_rss_bytes: Option<f64>,
}

/// What the server and its workers use meanwhile.
fn costs<T>(target: &Target, work: impl FnOnce() -> Result<T>) -> Result<(Costs, T)> {
    target.forget_peak_rss();
    let (server, workers) = (target.server_cpu_s(), target.workers_cpu_s());
    let outcome = work()?;
    let spent = |after: Option<f64>, before: Option<f64>| Some(after? - before?);
    let costs = Costs {
        server_s: spent(target.server_cpu_s(), server),
        workers_s: spent(target.workers_cpu_s(), workers),
        peak_rss_bytes: target.peak_rss_bytes(),
    };
    Ok((costs, outcome))
}

impl Costs {
    fn run<const N: usize>(self, wall_s: f64, rate: f64, tasks: u64, figures: [(&str, f64); N]) -> Run {
        let per_task = |cpu_s: f64| cpu_s * 1e6 / tasks as f64;
        Run {
            wall_s,
            tasks_per_s: rate,
            server_cpu_us_per_task: self.server_s.map(per_task),
            worker_cpu_us_per_task: self.workers_s.map(per_task),
            server_peak_rss_bytes: self.peak_rss_bytes,
            figures: BTreeMap::from(figures.map(|(name, value)| (name.to_owned(), value))),
        }
    }
}
