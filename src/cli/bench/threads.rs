//! A peer: threads in this process that take one input after the other and call the built-in function.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::value::RawValue;

use super::workloads::Batch;
use crate::functions::{self, Function};

/// Makes the batch's work ready for so many threads.
pub(super) fn start(batch: &Batch, threads: u32) -> Result<Box<dyn FnMut() -> Result<f64>>> {
    let function = functions::find(&batch.function).context("only built-in functions run in threads")?;
    let mut inputs = Vec::new();
    for block in batch.inputs.blocks() {
        for line in std::str::from_utf8(&block)?.lines() {
            inputs.push(RawValue::from_string(line.to_owned())?);
        }
    }
    Ok(Box::new(move || run(function, &inputs, threads)))
}

fn run(function: &Function, inputs: &[Box<RawValue>], threads: u32) -> Result<f64> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        let mut output = Vec::new();
        while let Some(input) = inputs.get(next.fetch_add(1, Ordering::Relaxed)) {
            output.clear();
            (function.run)(input, &mut output)?;
        }
        Ok(())
    };
    let since = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a task panicked"))))
    })?;
    Ok(since.elapsed().as_secs_f64())
}
