//! Server-sent events as a browser reads them.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

/// A stream of events, which ends when the connection does.
pub(crate) struct Events {
    lines: Box<dyn BufRead>,
    /// How many comments it had.
    pub(crate) comments: usize,
}

impl Events {
    pub(crate) fn new(body: impl Read + 'static) -> Self {
        Self { lines: Box::new(BufReader::new(body)), comments: 0 }
    }

    /// The next line without its end; a stream that is cut has no more.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).unwrap_or(0);
        self.comments += usize::from(line.starts_with(':'));
        (read > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    /// Skips what is not wanted.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        self.find(wanted).unwrap_or_else(|| panic!("the stream ended without {what}"))
    }

    /// The next event of this name.
    #[track_caller]
    pub(crate) fn named(&mut self, name: &str) -> Event {
        self.until(name, |event| event.name == name)
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut event = Event { name: String::new(), id: String::new(), data: Value::Null };
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("id", id)) => id.clone_into(&mut event.id),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                Some(("", _)) => {}
                None if line.is_empty() && !event.name.is_empty() => return Some(event),
                None if line.is_empty() => {}
                other => panic!("{line:?} is no line of an event: {other:?}"),
            }
        }
    }
}
