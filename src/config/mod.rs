//! The configuration: raw (flags, environment, file), then valid. Flag beats environment beats file beats default;
//! a key that is not known is refused, and the nearest one named.

mod access;
mod callbacks;
mod functions;
mod raw;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::access::{Browsers, Tokens};
use crate::model::Limits;
use crate::sys::cpus;
use crate::{units, webhooks};
pub use access::TOKEN_VARIABLE;
pub use functions::{Function, MAX_OUTPUT_BYTES, RawFunction};
pub use raw::{LogFormat, RawConfig};

/// A job is kept for a week after its end, unless the operator says otherwise.
const RETENTION: Duration = Duration::from_hours(7 * 24);

/// A valid configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Where jobs and results are kept.
    pub data_dir: PathBuf,
    /// How many tasks run at once.
    pub slots: u32,
    /// Why so many, for people.
    pub slots_reason: String,
    /// This node's name.
    pub node: String,
    /// How long running tasks have to end.
    pub grace: Duration,
    /// What clients may send.
    pub limits: Limits,
    /// How long a job is kept after its end.
    pub retention: Duration,
    /// How many jobs that have ended are kept.
    pub retention_count: u64,
    /// Who may call; empty: everyone who can reach the server.
    pub tokens: Tokens,
    /// What is dubious about where they and other secrets came from.
    secret_warnings: Vec<String>,
    /// The operator wants no tokens.
    pub no_auth: bool,
    /// Which hosts and origins are let in.
    pub browsers: Browsers,
    /// How ends of jobs are told; `None`: to nobody.
    pub callbacks: Option<Arc<webhooks::Settings>>,
    /// Whether the function `fail` is offered.
    pub enable_fail: bool,
    /// How the log is written; `None`: as the terminal suggests.
    pub log_format: Option<LogFormat>,
    /// The functions that the operator declares, by name.
    pub functions: BTreeMap<String, Function>,
}

impl RawConfig {
    /// Checks it and fills in the defaults.
    pub fn validate(self) -> Result<Config> {
        let listen = self.listen_address();
        let (slots, slots_reason) = slots(self.processes)?;
        let grace = self.grace.map_or(Ok(Duration::from_secs(10)), |text| duration("grace", &text))?;
        let function = |(name, raw): (String, RawFunction)| {
            let valid = raw.validate(&name, &self.dir, grace);
            let valid = valid.map_err(|error| {
                let line = line_of(&self.text, &name, &format!("{error:#}"));
                let at = line.map_or_else(String::new, |line| format!("line {line}, "));
                error.context(format!("{at}in [functions.{name}]"))
            });
            valid.map(|valid| (name, valid))
        };
        let limits = Limits::default();
        let (tokens, token_warning) = access::tokens(self.token_file.as_deref())?;
        let (callbacks, callback_warning) = callbacks::settings(&callbacks::Raw {
            hosts: &self.callback_hosts.unwrap_or_default(),
            networks: &self.callback_networks.unwrap_or_default(),
            secret_file: self.callback_secret_file.as_deref(),
            ca_file: self.callback_ca_file.as_deref(),
        })?;
        let (hosts, origins) =
            (self.allowed_hosts.unwrap_or_default(), self.allowed_origins.unwrap_or_default());
        Ok(Config {
            listen,
            tokens,
            secret_warnings: token_warning.into_iter().chain(callback_warning).collect(),
            no_auth: self.no_auth.unwrap_or(false),
            browsers: access::browsers(listen.ip(), hosts, origins)?,
            callbacks,
            data_dir: std::path::absolute(self.data_dir.map_or_else(usual_data_dir, Ok)?)?,
            slots,
            slots_reason,
            node: self.node.unwrap_or_else(host_name),
            grace,
            limits: Limits {
                max_body_bytes: at_least_one("max_body_bytes", self.max_body_bytes, limits.max_body_bytes)?,
                max_input_bytes: at_least_one(
                    "max_input_bytes",
                    self.max_input_bytes,
                    limits.max_input_bytes,
                )?,
                max_queued_tasks: self.max_queued_tasks.unwrap_or(limits.max_queued_tasks),
                max_queued_bytes: self.max_queued_bytes.map_or(Ok(limits.max_queued_bytes), |text| {
                    units::size(&text).map_err(|why| anyhow::anyhow!("max_queued_bytes: {why}"))
                })?,
            },
            retention: self.retention.map_or(Ok(RETENTION), |text| duration("retention", &text))?,
            retention_count: self.retention_count.unwrap_or(u64::MAX),
            enable_fail: self.enable_fail.unwrap_or(false),
            log_format: self.log_format,
            functions: self.functions.into_iter().map(function).collect::<Result<_>>()?,
        })
    }
}

/// The line of the key that a message about a function begins with, or else of the function's head.
fn line_of(text: &str, function: &str, message: &str) -> Option<usize> {
    let key = message.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next()?;
    let is_head = |line: &str| {
        let name = line.trim().strip_prefix("[functions.").and_then(|rest| rest.strip_suffix(']'));
        name.is_some_and(|name| name.trim_matches(['"', '\'']) == function)
    };
    let head = text.lines().position(is_head)?;
    let body = text.lines().skip(head + 1).take_while(|line| !line.starts_with('['));
    let is_key = |line: &str| line.split('=').next().is_some_and(|name| name.trim() == key);
    let at = body.zip(1..).find(|(line, _)| is_key(line)).map_or(0, |(_, at)| at);
    Some(head + at + 1)
}

fn slots(processes: Option<u32>) -> Result<(u32, String)> {
    match processes {
        Some(0) => bail!("processes is 0; it must be at least 1"),
        Some(slots) => Ok((slots, "as configured".into())),
        None => {
            let cpus = cpus::available();
            Ok((cpus.count, cpus.reason.to_string()))
        }
    }
}

fn at_least_one(key: &str, value: Option<usize>, default: usize) -> Result<usize> {
    match value {
        Some(0) => bail!("{key} is 0; it must be at least 1"),
        value => Ok(value.unwrap_or(default)),
    }
}

fn duration(key: &str, text: &str) -> Result<Duration> {
    units::duration(text).map_err(|why| anyhow::anyhow!("{key}: {why}"))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The XDG base directory specification's place for an application's data.
fn usual_data_dir() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    let base =
        base.context("neither XDG_DATA_HOME nor HOME is set; say where to keep data with --data-dir")?;
    Ok(base.join("gristmill"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_name() {
        let error = RawConfig::from_toml("listen = \"127.0.0.1:1\"\nproceses = 3\n").unwrap_err().to_string();
        assert!(error.starts_with("line 2: unknown field `proceses`"), "{error}");
        assert!(error.ends_with("did you mean `processes`?"), "{error}");
    }

    #[test]
    fn what_is_said_first_wins() {
        let file = RawConfig::from_toml("processes = 3\ngrace = \"1m\"\nnode = \"mill\"").unwrap();
        let flags = RawConfig { processes: Some(5), ..RawConfig::default() };
        let config = flags.or(file).validate().unwrap();
        assert_eq!((config.slots, config.grace), (5, Duration::from_mins(1)));
        assert_eq!((config.node.as_str(), config.slots_reason.as_str()), ("mill", "as configured"));
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    }

    #[test]
    fn functions_are_declared_in_the_file() {
        let declared = |lines: &str| {
            let raw = RawConfig::from_toml(&format!("[functions.thumb]\n{lines}"))?;
            RawConfig { dir: "/srv".into(), ..raw }.validate().map(|config| config.functions["thumb"].clone())
        };
        let thumb =
            declared("command = ['convert', '-']\nmode = 'exec'\noutput = 'bytes'\ntimeout = '5s'").unwrap();
        assert_eq!(
            (thumb.adapter.mode, thumb.timeout),
            (crate::adapter::Mode::Exec, Some(Duration::from_secs(5)))
        );
        assert_eq!((thumb.cwd, thumb.adapter.max_output_bytes), ("/srv".into(), 16 << 20));
        let wrong = [
            ("command = ['a']\nmode = 'line'", "did you mean `lines`?"),
            ("command = ['a']\nmode = 'lines'\ntimout = '1s'", "did you mean `timeout`?"),
            ("mode = 'lines'", "missing field `command`"),
            ("command = []\nmode = 'lines'", "in [functions.thumb]: command is empty"),
            ("command = ['a']\nmode = 'lines'\noutput = 'text'", "output is for mode = \"exec\" only"),
            ("command = ['a']\nmode = 'lines'\ninput = 'taks'", "did you mean `task`?"),
            (
                "command = ['a']\nmode = 'lines'\ninput = 'text'",
                "in [functions.thumb]: input in mode = \"lines\" is \"json\" or \"task\"",
            ),
            (
                "command = ['a']\nmode = 'exec'\ninput = 'task'",
                "input in mode = \"exec\" is \"json\", \"text\" or \"bytes\"",
            ),
            (
                "command = ['a']\nmode = 'batch'\ninput = 'task'",
                "input is for mode = \"exec\" and mode = \"lines\" only",
            ),
            ("command = ['a']\nmode = 'lines'\nmax_output_bytes = 'much'", "512MiB"),
        ];
        for (lines, want) in wrong {
            let error = format!("{:#}", declared(lines).unwrap_err());
            assert!(error.contains(want), "{lines}: {error}");
        }
        let raw = RawConfig::from_toml("[functions.echo]\ncommand = ['cat']\nmode = 'lines'").unwrap();
        assert!(format!("{:#}", raw.validate().unwrap_err()).contains("built in"));
    }

    #[test]
    fn values_out_of_range_say_what_is_right() {
        let grace = RawConfig { grace: Some("soon".into()), ..RawConfig::default() };
        assert!(grace.validate().unwrap_err().to_string().contains("30s"));
        let processes = RawConfig { processes: Some(0), ..RawConfig::default() };
        assert!(processes.validate().unwrap_err().to_string().contains("at least 1"));
    }

    /// The keys that a table may have, as the refusal of another one lists them.
    fn known_keys(table: &str) -> Vec<String> {
        let error = RawConfig::from_toml(&format!("{table}\nno_such_key = 1")).unwrap_err().to_string();
        let (_, list) = error.split_once("expected one of ").unwrap();
        let list = list.split(';').next().unwrap();
        list.split(", ").map(|name| name.trim_matches(['`', ' ']).to_owned()).collect()
    }

    #[test]
    fn the_file_in_the_images_names_every_key_and_is_right_when_uncommented() {
        let shipped = include_str!("../../docker/gristmill.toml");
        let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
        let text = shipped.lines().filter(|line| is_setting(line)).map(|line| &line[1..]);
        let text = text.collect::<Vec<_>>().join("\n");
        let (global, function) = text.split_once("[functions.words]\n").unwrap();
        let says = |table: &str, key: &str| table.lines().any(|line| line.starts_with(&format!("{key} =")));
        for key in known_keys("").iter().filter(|key| *key != "functions") {
            assert!(says(global, key), "docker/gristmill.toml does not name {key}");
        }
        for key in known_keys("[functions.words]\ncommand = ['a']\nmode = 'lines'") {
            assert!(says(function, &key), "docker/gristmill.toml does not name {key} of a function");
        }
        // Forms are for another mode than the one that is shown, and the files are not here.
        let others =
            ["input = ", "output = ", "token_file = ", "callback_secret_file = ", "callback_ca_file = "];
        let valid = text.lines().filter(|line| !others.iter().any(|other| line.starts_with(other)));
        let raw = RawConfig::from_toml(&valid.collect::<Vec<_>>().join("\n")).unwrap();
        let config = raw.validate().unwrap();
        assert!(RawConfig::from_toml(&text).is_ok() && config.functions.contains_key("words"));
        assert!(
            shipped.lines().all(|line| line.is_empty() || line.starts_with('#')),
            "it changes nothing as it is"
        );
    }
}
