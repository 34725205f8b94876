//! The inputs of a job on their way up: from arguments, files or standard input, as the body of a request.

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use futures_util::stream;
use reqwest::Body;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::lines::{Lines, count_inputs};
use super::streams::tell;
use crate::protocol::json;

const PIECE_BYTES: usize = 1 << 16;
/// So many pieces are read ahead of the connection.
const PIECES: usize = 4;

/// Where the inputs are.
#[derive(Args, Debug)]
pub(super) struct InputArguments {
    /// Inputs, each a JSON value; without any, standard input has one on each line
    #[arg(value_name = "INPUT", allow_negative_numbers = true)]
    inputs: Vec<String>,
    /// Read inputs from this file, one a line; may be given more than once, and `-` is standard input
    #[arg(short, long = "file", value_name = "FILE", conflicts_with = "inputs")]
    files: Vec<PathBuf>,
    /// Take each argument or line as a text, not as JSON
    #[arg(short, long)]
    text: bool,
}

/// A part of the inputs, with its name.
struct Source {
    name: String,
    read: Box<dyn Read + Send>,
    /// Whether its lines are JSON as they are.
    is_json: bool,
}

impl InputArguments {
    /// Whether nobody says where inputs are, and people would have to type them.
    pub(super) fn are_typed(&self) -> bool {
        self.inputs.is_empty() && self.reads_stdin() && std::io::stdin().is_terminal()
    }

    fn reads_stdin(&self) -> bool {
        self.files.is_empty() || self.files.iter().any(|file| file.as_os_str() == "-")
    }

    /// Begins to read them, and gives the body that they are. Where they are not `needed`, people are not made to type any.
    pub(super) fn start(&self, needed: bool) -> Result<(Arc<Input>, Body)> {
        if self.are_typed() && !needed {
            return Ok(Input::start(Vec::new()));
        }
        if self.are_typed() {
            let what = if self.text { "text" } else { "JSON value" };
            tell(format_args!("type the inputs, one {what} a line; Ctrl-D ends them"));
        }
        Ok(Input::start(self.sources()?))
    }

    fn sources(&self) -> Result<Vec<Source>> {
        if !self.inputs.is_empty() {
            let text = self.arguments()?;
            return Ok(vec![Source {
                name: "the arguments".into(),
                read: Box::new(std::io::Cursor::new(text)),
                is_json: true,
            }]);
        }
        if self.files.is_empty() {
            return Ok(vec![self.stdin()]);
        }
        self.files.iter().map(|file| self.file(file)).collect()
    }

    /// The arguments as lines of JSON.
    fn arguments(&self) -> Result<String> {
        let line = |(number, input): (usize, &String)| {
            if self.text {
                return Ok(serde_json::to_string(input)? + "\n");
            }
            json::check(input.as_bytes()).map_err(|why| {
                anyhow!("input {} is {input}, which is no JSON ({why}); with --text it is a text", number + 1)
            })?;
            // JSON has raw line breaks only between its tokens.
            Ok(input.replace(['\n', '\r'], " ") + "\n")
        };
        self.inputs.iter().enumerate().map(line).collect()
    }

    fn stdin(&self) -> Source {
        Source { name: "standard input".into(), read: Box::new(std::io::stdin()), is_json: !self.text }
    }

    fn file(&self, path: &PathBuf) -> Result<Source> {
        if path.as_os_str() == "-" {
            return Ok(self.stdin());
        }
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("reading {name}"))?;
        Ok(Source { name, read: Box::new(file), is_json: !self.text })
    }
}

/// How far the inputs have been read.
#[derive(Debug, Default)]
pub(super) struct Input {
    lines: AtomicU64,
    at_end: AtomicBool,
    failure: OnceLock<String>,
}

type Piece = std::io::Result<Vec<u8>>;

impl Input {
    /// Reads in a thread of its own, no faster than the body is sent.
    fn start(sources: Vec<Source>) -> (Arc<Self>, Body) {
        let (pieces, sent) = channel(PIECES);
        let input = Arc::new(Self::default());
        let its = input.clone();
        std::thread::spawn(move || {
            // Where it fails, the body does too, and the request with it.
            if sources.into_iter().all(|source| its.read(source, &pieces)) {
                its.at_end.store(true, Ordering::Release);
            }
        });
        let body =
            stream::unfold(sent, |mut sent: Receiver<Piece>| async { Some((sent.recv().await?, sent)) });
        (input, Body::wrap_stream(body))
    }

    /// How many lines there were so far.
    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Whether there are no more.
    pub(super) fn is_at_end(&self) -> bool {
        self.at_end.load(Ordering::Acquire)
    }

    /// The error of a request with these inputs: what could not be read, or else this.
    pub(super) fn blamed(&self, error: anyhow::Error) -> anyhow::Error {
        self.failure.get().map_or(error, |why| anyhow!("{why}"))
    }

    /// Whether it was read and sent to its end.
    fn read(&self, mut source: Source, pieces: &Sender<Piece>) -> bool {
        let (mut in_line, mut texts) = (false, (!source.is_json).then(Lines::default));
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let length = match source.read.read(&mut piece) {
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // It is set once: nothing is read behind it.
                    drop(self.failure.set(format!("reading {}: {error}", source.name)));
                    drop(pieces.blocking_send(Err(error)));
                    return false;
                }
            };
            piece.truncate(length);
            if let Some(texts) = &mut texts {
                piece = if length == 0 { texts.end() } else { texts.quote(&piece) };
            }
            // The next source begins a line of its own.
            if length == 0 && (in_line || !piece.is_empty()) {
                piece.push(b'\n');
            }
            // Blank lines are no inputs.
            self.lines.fetch_add(count_inputs(&piece, &mut in_line), Ordering::Relaxed);
            if !piece.is_empty() && pieces.blocking_send(Ok(piece)).is_err() {
                return false;
            }
            if length == 0 {
                return true;
            }
        }
    }
}
