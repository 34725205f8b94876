//! What a program reads and writes for a task, and the JSON that stands for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::protocol::{Run, json};

/// What a program reads on stdin for a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// One JSON value.
    #[default]
    Json,
    /// UTF-8 text; a string in JSON.
    Text,
    /// Bytes; a string of base64 in JSON.
    Bytes,
    /// One JSON object: the input, and beside it what a `run` message tells of the task.
    Task,
}

/// What a program writes on stdout for a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// One JSON value.
    #[default]
    Json,
    /// UTF-8 text; a string in JSON. One line break at its end is not part of it.
    Text,
    /// Bytes; a string of base64 in JSON.
    Bytes,
}

impl Input {
    /// What the program gets for this input of a run; what is wrong with the input, if anything is.
    pub(super) fn encode(self, run: &Run<'_>, index: u64, input: &str) -> Result<Vec<u8>, String> {
        let text =
            |wanted| serde_json::from_str::<String>(input).map_err(|_| format!("its input is {wanted}"));
        match self {
            Self::Json => {
                let mut line = Vec::with_capacity(input.len() + 1);
                json::push_line(&mut line, input.as_bytes());
                Ok(line)
            }
            Self::Text => Ok(text("text, a string in JSON")?.into_bytes()),
            Self::Bytes => BASE64
                .decode(text("bytes, a string of base64 in JSON")?)
                .map_err(|error| format!("its input is bytes, a string of base64 in JSON: {error}")),
            Self::Task => Ok(task_line(run, index, input).into_bytes()),
        }
    }
}

/// The task as one line. Its input came within a message of one line, so it breaks none.
fn task_line(run: &Run<'_>, index: u64, input: &str) -> String {
    let Run { job, attempt, traceparent, .. } = run;
    let trace = traceparent.map_or_else(String::new, |parent| format!(r#","traceparent":"{parent}""#));
    format!(r#"{{"input":{input},"job":"{job}","index":{index},"attempt":{attempt}{trace}}}"#) + "\n"
}

impl Output {
    /// The JSON for what the program wrote; what is wrong with that, if anything is.
    pub(super) fn decode(self, output: &[u8]) -> Result<Vec<u8>, String> {
        let string = |text: &str| serde_json::to_vec(text).map_err(|error| error.to_string());
        match self {
            Self::Json => check_json(output.trim_ascii()).map(|value| {
                // It goes into a message of one line.
                let mut line = Vec::with_capacity(value.len() + 1);
                json::push_line(&mut line, value);
                line.pop();
                line
            }),
            Self::Text => match std::str::from_utf8(output.strip_suffix(b"\n").unwrap_or(output)) {
                Ok(text) => string(text),
                Err(error) => Err(format!("its output is not UTF-8: {error}; declare output = \"bytes\"")),
            },
            Self::Bytes => string(&BASE64.encode(output)),
        }
    }
}

/// One JSON value that a program wrote, or what is wrong with it.
pub(super) fn check_json(output: &[u8]) -> Result<&[u8], String> {
    if output.is_empty() {
        return Err("it wrote nothing where one JSON value was expected".to_owned());
    }
    match json::check(output) {
        Ok(()) => Ok(output),
        Err(error) => Err(format!("its output is not one JSON value: {error}; it wrote {}", excerpt(output))),
    }
}

/// The beginning of what a program wrote, for a message.
fn excerpt(output: &[u8]) -> String {
    const SHOWN: usize = 100;
    let text = String::from_utf8_lossy(&output[..output.len().min(SHOWN)]);
    let more = if output.len() > SHOWN { "…" } else { "" };
    format!("{text:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program reads for the second task of a run.
    fn encode(form: Input, input: &str) -> Result<Vec<u8>, String> {
        let job = "0190b5f7-7c4d-7abc-8def-0123456789ab".parse().unwrap();
        let run = Run { job, index: 7, attempt: 2, traceparent: Some("00-abc-def-01"), inputs: Vec::new() };
        form.encode(&run, 8, input)
    }

    #[test]
    fn each_form_goes_in_and_comes_out() {
        assert_eq!(encode(Input::Json, "{\"a\":\n1}").unwrap(), b"{\"a\": 1}\n");
        assert_eq!(encode(Input::Text, r#""caf\u00e9""#).unwrap(), "café".as_bytes());
        assert_eq!(encode(Input::Bytes, r#""AP8=""#).unwrap(), [0, 255]);
        assert!(encode(Input::Text, "1").unwrap_err().contains("a string in JSON"));
        assert!(encode(Input::Bytes, r#""?""#).unwrap_err().contains("base64"));
        let task = r#"{"input":[1, 1e400],"job":"0190b5f7-7c4d-7abc-8def-0123456789ab","index":8,"attempt":2,"traceparent":"00-abc-def-01"}"#;
        assert_eq!(encode(Input::Task, "[1, 1e400]").unwrap(), format!("{task}\n").into_bytes());

        assert_eq!(Output::Json.decode(b" [1,\r\n2] \n").unwrap(), b"[1,  2]");
        assert_eq!(Output::Text.decode("é\"\n".as_bytes()).unwrap(), "\"é\\\"\"".as_bytes());
        assert_eq!(Output::Bytes.decode(&[0, 255]).unwrap(), b"\"AP8=\"");
        assert!(Output::Text.decode(&[255]).unwrap_err().contains("output = \"bytes\""));
        assert!(Output::Json.decode(b"").unwrap_err().contains("wrote nothing"));
        assert!(Output::Json.decode(b"1 2").unwrap_err().contains("\"1 2\""));
    }
}
