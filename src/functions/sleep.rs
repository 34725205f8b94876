//! `sleep` waits: a task that takes time and no CPU.
//!
//! Input: seconds, a number from 0 to 86,400 (a day). Output: the same number as it was given. Errors:
//! `BadInput` for anything else.

use std::thread;
use std::time::Duration;

use serde_json::value::RawValue;

use super::{Function, FunctionError};

pub(super) const FUNCTION: Function = Function {
    name: "sleep",
    description: "Waits for some seconds and gives their number.",
    input: "seconds: number from 0 to 86400",
    output: "seconds: the same number",
    example: ("0.01", "0.01"),
    run,
};

fn run(input: &RawValue, out: &mut Vec<u8>) -> Result<(), FunctionError> {
    const WANTED: &str = "a number of seconds from 0 to 86400";
    let seconds: f64 = FUNCTION.parse(input, WANTED)?;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err(FUNCTION.refuse(input, WANTED));
    }
    thread::sleep(Duration::from_secs_f64(seconds));
    out.extend_from_slice(input.get().as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::{call, refusal};

    #[test]
    fn sleeps_and_keeps_the_number_as_written() {
        for seconds in ["0", "-0", "-0.0", "1e-3", "0.0500"] {
            let start = Instant::now();
            assert_eq!(call("sleep", seconds).as_deref(), Ok(seconds));
            assert!(start.elapsed().as_secs_f64() >= seconds.parse().unwrap());
        }
    }

    #[test]
    fn refuses_other_spans() {
        for bad in ["-1", "86400.001", "1e999", r#""1""#, "null"] {
            let message = format!("sleep wants a number of seconds from 0 to 86400, not {bad}");
            assert_eq!(refusal("sleep", bad), message);
        }
    }
}
