//! A peer: what pipes and one fsync cost. The inputs are parsed, go to as many built-in workers as there are slots, and
//! their outputs into a file; without HTTP, store and supervision, and with chunks that are known beforehand.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::value::RawValue;

use super::target::Target;
use super::workloads::Batch;
use crate::app::WORKER_ARGUMENT;
use crate::model::JobId;
use crate::protocol::{Answer, Run};

const CHUNK_TASKS: usize = 8192;

/// Starts the workers; they are warm when the first of their outputs is asked for.
pub(super) fn start<'a>(
    batch: &'a Batch,
    target: &'a Target,
) -> Result<Box<dyn FnMut() -> Result<f64> + 'a>> {
    let mut workers =
        (0..target.slots).map(|_| Worker::start(&batch.function)).collect::<Result<Vec<_>>>()?;
    let inputs: Vec<u8> = batch.inputs.blocks().flat_map(std::borrow::Cow::into_owned).collect();
    let path = target.dir.join(format!("gristmill-bench-floor-{}", std::process::id()));
    Ok(Box::new(move || {
        let outcome = run(&mut workers, &inputs, &path);
        drop(fs::remove_file(&path));
        outcome
    }))
}

fn run(workers: &mut [Worker], inputs: &[u8], path: &Path) -> Result<f64> {
    let since = Instant::now();
    let chunks = chunks(inputs)?;
    let count = workers.len();
    let outputs = std::thread::scope(|scope| {
        let each = workers.iter_mut().enumerate();
        let threads: Vec<_> = each
            .map(|(at, worker)| {
                let own: Vec<_> = chunks.iter().skip(at).step_by(count).copied().collect();
                scope.spawn(move || worker.map(&own))
            })
            .collect();
        let panicked = |_| Err(anyhow::anyhow!("a thread panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect::<Result<Vec<_>>>()
    })?;
    let mut file = File::create(path)?;
    for at in 0..chunks.len() {
        file.write_all(&outputs[at % count][at / count])?;
    }
    file.sync_all()?;
    Ok(since.elapsed().as_secs_f64())
}

/// A run of lines, and how many they are.
type Chunk<'a> = (&'a [u8], usize);

/// Parses each line, as a server has to.
fn chunks(inputs: &[u8]) -> Result<Vec<Chunk<'_>>> {
    let (mut chunks, mut start, mut at, mut count) = (Vec::new(), 0, 0, 0);
    for line in inputs.split_inclusive(|byte| *byte == b'\n') {
        let _: &RawValue = serde_json::from_slice(line)?;
        (at, count) = (at + line.len(), count + 1);
        if count == CHUNK_TASKS || at == inputs.len() {
            chunks.push((&inputs[start..at], count));
            (start, count) = (at, 0);
        }
    }
    Ok(chunks)
}

struct Worker {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    fn start(function: &str) -> Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.args([WORKER_ARGUMENT, function]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("starting a worker")?;
        let stdin = process.stdin.take();
        let stdout = BufReader::with_capacity(1 << 18, process.stdout.take().context("it is piped")?);
        let mut worker = Self { process, stdin, stdout };
        worker.line(&mut Vec::new())?;
        Ok(worker)
    }

    /// The output lines of each chunk. One thread writes while the other reads, so that no pipe stands still.
    fn map(&mut self, chunks: &[Chunk<'_>]) -> Result<Vec<Vec<u8>>> {
        let mut stdin = self.stdin.take().context("it is open until the end")?;
        let (stdin, outputs) = std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let mut message = Vec::new();
                for (lines, _) in chunks {
                    message.clear();
                    Run::encode(&mut message, JobId(uuid::Uuid::nil()), (0, 1), None, lines);
                    stdin.write_all(&message)?;
                }
                Ok::<_, std::io::Error>(stdin)
            });
            let outputs = chunks.iter().map(|(_, count)| self.answers(*count)).collect::<Result<Vec<_>>>();
            (writer.join(), outputs)
        });
        self.stdin = Some(stdin.map_err(|_| anyhow::anyhow!("a thread panicked"))??);
        outputs
    }

    /// The outputs of one chunk.
    fn answers(&mut self, count: usize) -> Result<Vec<u8>> {
        let (mut lines, mut line, mut seen) = (Vec::new(), Vec::new(), 0);
        while seen < count {
            self.line(&mut line)?;
            let Answer::Done(done) = Answer::decode(&line[1..])? else { bail!("a task failed") };
            seen += done.outputs.len();
            for output in done.outputs {
                lines.extend_from_slice(output.get().as_bytes());
                lines.push(b'\n');
            }
        }
        Ok(lines)
    }

    fn line(&mut self, line: &mut Vec<u8>) -> Result<()> {
        line.clear();
        ensure!(self.stdout.read_until(b'\n', line)? > 1, "a worker has ended");
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It ends with its stdin.
        drop(self.stdin.take());
        drop(self.process.wait());
    }
}
