//! All workloads that were asked for, each with its peers, turn by turn.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::bars::{self, OVER_BEST, OVER_ECHO};
use super::calibrate::Speeds;
use super::machine::Machine;
use super::measure::{self, Run};
use super::report::{Outcome, Report, Skipped};
use super::sink::Sink;
use super::target::{Site, Target};
use super::workloads::{Batch, Workload};
use super::{Arguments, oversubscription, peers, requests, show};

use clap::ValueEnum as _;

/// Beside its peers a workload runs so long for each run that is asked for, so that short walls, which waver most, are
/// measured more often.
const LEAST: Duration = Duration::from_secs(4);

/// Measures and reports.
pub(super) fn run(arguments: &Arguments, json: Option<Sink>, site: &Site) -> Result<()> {
    let wanted = if arguments.workload.is_empty() { Workload::value_variants() } else { &arguments.workload };
    let machine = Machine::look(&site.open()?.target)?;
    eprintln!("{machine}");
    let speeds = Speeds::measure()?;
    let has_python = machine.has_python();
    let mut report = Report::new(arguments, machine);
    for workload in wanted {
        let (name, served) = (workload.name(), site.open()?);
        let target = &served.target;
        if let Some(why) = why_not(*workload, target, has_python) {
            report.skipped.push(Skipped { name, why });
            continue;
        }
        let outcome = measure(*workload, arguments, target, &speeds);
        report.workloads.push(outcome.with_context(|| format!("in the workload {name}"))?);
    }
    show(arguments, &report)?;
    json.map_or(Ok(()), |json| json.write_json(&report))
}

/// Why a workload is left out, if it is.
fn why_not(workload: Workload, target: &Target, has_python: bool) -> Option<String> {
    let function = workload.function();
    if matches!(workload, Workload::EchoPython | Workload::Sha256Python)
        && target.pid.is_some()
        && !has_python
    {
        return Some("python3 is not installed".to_owned());
    }
    let known = target.functions.iter().any(|name| name == function);
    (!known).then(|| format!("the server has no function {function}"))
}

fn measure(workload: Workload, arguments: &Arguments, target: &Target, speeds: &Speeds) -> Result<Outcome> {
    let batch = workload.batch(arguments.scale, speeds)?;
    measure::warm_up(target, &batch, target.slots)?;
    let (mut peers, missing) =
        if arguments.compare { peers::start(workload, &batch, target)? } else { (Vec::new(), Vec::new()) };
    let scale = arguments.scale.min(1.0);
    let least = if peers.is_empty() { Duration::ZERO } else { (LEAST * arguments.runs).mul_f64(scale) };
    let (mut runs, since) = (Vec::new(), Instant::now());
    while runs.len() < arguments.runs as usize || since.elapsed() < least {
        let run = once(workload, &batch, target, (arguments.scale, speeds))?;
        eprintln!("{}: run {}: {:.4} s", workload.name(), runs.len() + 1, run.wall_s);
        runs.push(run);
        for peer in &mut peers {
            peer.run()?;
        }
    }
    let mut median = Run::median(&runs);
    if workload == Workload::Oversubscription {
        let worst = oversubscription::worst_over_best(&median, target.slots);
        median.figures.insert(OVER_BEST.to_owned(), worst);
    }
    let peers: Vec<_> = peers.into_iter().map(|peer| peer.finish(&runs)).chain(missing).collect();
    let bars = bars::judge(workload, arguments.scale, &median, &peers);
    // The clients do as many as they can.
    let done = (median.tasks_per_s * median.wall_s).round() as u64;
    let tasks = if workload == Workload::Clients { done } else { batch.tasks };
    Ok(Outcome {
        workload,
        name: workload.name(),
        function: batch.function,
        tasks,
        outputs_checked: true,
        runs,
        median,
        peers,
        bars,
    })
}

fn once(workload: Workload, batch: &Batch, target: &Target, (scale, speeds): (f64, &Speeds)) -> Result<Run> {
    match workload {
        Workload::Latency => requests::latency(target, batch.tasks),
        Workload::Clients => requests::clients(target, scale),
        Workload::Oversubscription => oversubscription::once(target, batch),
        Workload::TenMillion => beside_a_million(target, batch, &Workload::Echo.batch(scale, speeds)?),
        _ => measure::job(target, batch, None),
    }
}

/// A task of ten million beside one of a million, measured right after it.
fn beside_a_million(target: &Target, batch: &Batch, million: &Batch) -> Result<Run> {
    let mut run = measure::job(target, batch, None)?;
    let rate = measure::job(target, million, None)?.tasks_per_s;
    run.figures.insert(OVER_ECHO.to_owned(), rate / run.tasks_per_s);
    Ok(run)
}
