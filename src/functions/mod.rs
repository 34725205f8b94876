//! The built-in functions: what a worker child process can run without any code of the user's.
//!
//! Each one maps one JSON input to one JSON output, keeps nothing between calls and says in its own module
//! head what it takes, gives and refuses. An input of the wrong shape is always the error `BadInput`, which
//! is not worth a retry; a field that a function does not know is refused rather than ignored.

mod count;
mod echo;
mod fail;
mod hex;
mod mine;
mod primes;
mod rainbow;
mod sha256;
mod sleep;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::Verdict;
use crate::worker::{self, EachTask, Failure};

/// A built-in function: maps one JSON input to one JSON output.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// The name that a batch asks for it by.
    pub name: &'static str,
    /// One sentence on what it does.
    pub description: &'static str,
    /// The shape of the input as people read it.
    pub input: &'static str,
    /// The shape of the output as people read it.
    pub output: &'static str,
    /// A JSON input and the JSON output it gives.
    pub example: (&'static str, &'static str),
    /// Appends the output as compact one-line JSON to `out`; on an error `out` is left as it was.
    pub run: fn(input: &RawValue, out: &mut Vec<u8>) -> Result<(), FunctionError>,
}

/// Why a built-in function could not map its input; becomes the task's error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct FunctionError {
    /// What sort of error it is, such as `BadInput`; goes on the wire as `type`.
    pub kind: &'static str,
    /// What was wrong and, for a bad input, what would be right.
    pub message: String,
    /// Whether the same input may do better at another try.
    pub retryable: bool,
}

impl From<FunctionError> for Failure {
    fn from(FunctionError { kind, message, retryable }: FunctionError) -> Self {
        Self { verdict: Verdict::Exception, kind: Some(kind.into()), message, stack: None, retryable }
    }
}

/// Serves a function as a worker until stdin ends.
pub fn serve(function: &Function) -> std::io::Result<()> {
    worker::serve(&mut EachTask(|input: &RawValue, output: &mut Vec<u8>| {
        let outcome = catch_unwind(AssertUnwindSafe(|| (function.run)(input, output)));
        outcome.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))).map_err(Failure::from)
    }))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> FunctionError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    FunctionError { kind: "Panic", message: text.to_owned(), retryable: true }
}

/// Every built-in function, the simplest first.
pub fn all() -> &'static [Function] {
    &FUNCTIONS
}

/// The built-in function of this name.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

static FUNCTIONS: [Function; 9] = [
    echo::FUNCTION,
    count::FUNCTION,
    primes::FUNCTION,
    sha256::FUNCTION,
    mine::FUNCTION,
    rainbow::FUNCTION,
    rainbow::LOOKUP,
    sleep::FUNCTION,
    fail::FUNCTION,
];

/// How many characters of a refused input, and of what the JSON parser says about it, a message repeats.
const SHOWN_INPUT: usize = 80;
const SHOWN_REASON: usize = 300;

impl Function {
    /// Reads an input that is a plain value; `wanted` says which, for the message.
    fn parse<'a, T: Deserialize<'a>>(&self, input: &'a RawValue, wanted: &str) -> Result<T, FunctionError> {
        serde_json::from_str(input.get()).map_err(|_| self.refuse(input, wanted))
    }

    /// Reads an input that is an object.
    fn parse_object<'a, T: Deserialize<'a>>(&self, input: &'a RawValue) -> Result<T, FunctionError> {
        // Serde would also read a struct from an array of its fields, which nobody means.
        if !input.get().starts_with('{') {
            return Err(self.refuse(input, self.input));
        }
        serde_json::from_str(input.get()).map_err(|error| {
            let reason = clip(&error.to_string(), SHOWN_REASON);
            bad_input(format!("{} wants {}: {reason}", self.name, self.input))
        })
    }

    fn refuse(&self, input: &RawValue, wanted: &str) -> FunctionError {
        bad_input(format!("{} wants {wanted}, not {}", self.name, clip(input.get(), SHOWN_INPUT)))
    }
}

fn bad_input(message: impl Into<String>) -> FunctionError {
    FunctionError { kind: "BadInput", message: message.into(), retryable: false }
}

fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn write(output: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, output)
        .expect("a Vec takes every write, and outputs are plain numbers, strings and structs");
}

/// Runs a function in a test, which also holds it to leaving `out` alone when it fails.
#[cfg(test)]
fn call(name: &str, input: &str) -> Result<String, FunctionError> {
    let input = RawValue::from_string(input.to_owned()).unwrap();
    let mut out = b"before".to_vec();
    let result = (find(name).unwrap().run)(&input, &mut out);
    let output = String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned();
    assert!(result.is_ok() || output.is_empty(), "{name} failed and wrote {output}");
    result.map(|()| output)
}

/// The message with which a function refuses an input in a test.
#[cfg(test)]
fn refusal(name: &str, input: &str) -> String {
    let error = call(name, input).unwrap_err();
    assert_eq!((error.kind, error.retryable), ("BadInput", false));
    error.message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_holds() {
        for function in all() {
            let (input, output) = function.example;
            assert_eq!(call(function.name, input).as_deref(), Ok(output), "{}", function.name);
        }
    }

    #[test]
    fn each_function_is_found_by_its_own_name() {
        for function in all() {
            assert!(std::ptr::eq(find(function.name).unwrap(), function));
        }
        assert!(find("no such function").is_none());
    }

    #[test]
    fn objects_with_unknown_fields_are_refused() {
        for function in all().iter().filter(|function| function.example.0.starts_with('{')) {
            if function.name != "echo" {
                let input = function.example.0.replacen('{', r#"{"unheard_of":1,"#, 1);
                assert!(refusal(function.name, &input).contains("unknown field `unheard_of`"));
            }
        }
    }

    #[test]
    fn an_array_of_the_fields_is_no_object() {
        assert!(refusal("fail", r#"["exit"]"#).ends_with(r#"not ["exit"]"#));
    }

    #[test]
    fn a_long_input_is_cut_in_the_message() {
        let message = refusal("count", &format!("\"{}\"", "é".repeat(1000)));
        assert!(message.ends_with(&format!("not \"{}...", "é".repeat(79))), "{message}");
    }
}
