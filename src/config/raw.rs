//! What the flags, the environment and the file say, before it is known to be valid.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::access::{TOKEN_VARIABLE, unless_in_environment};
use super::callbacks::SECRET_VARIABLE;
use super::functions::RawFunction;
use crate::nearest::with_nearest;

/// What the flags, the environment and the file can say; each of them may say nothing.
#[derive(Args, Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// The address to listen on [default: 127.0.0.1:8080]
    #[arg(long, env = "GRISTMILL_LISTEN", value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where jobs and results are kept [default: `$XDG_DATA_HOME/gristmill`, or `~/.local/share/gristmill`]
    #[arg(long, env = "GRISTMILL_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// How many tasks run at once [default: the CPUs this process may use]
    #[arg(long, env = "GRISTMILL_PROCESSES", value_name = "N")]
    pub(super) processes: Option<u32>,
    /// This node's name [default: the host's name]
    #[arg(long, env = "GRISTMILL_NODE", value_name = "NAME")]
    pub(super) node: Option<String>,
    /// How long running tasks have to end at a shutdown, and a worker that is told to end [default: 10s]
    #[arg(long, env = "GRISTMILL_GRACE", value_name = "DURATION")]
    pub(super) grace: Option<String>,
    /// The largest JSON body of a submit, in bytes [default: 67108864]
    #[arg(long, env = "GRISTMILL_MAX_BODY_BYTES", value_name = "BYTES")]
    pub(super) max_body_bytes: Option<usize>,
    /// The largest input, in bytes [default: 16777216]
    #[arg(long, env = "GRISTMILL_MAX_INPUT_BYTES", value_name = "BYTES")]
    pub(super) max_input_bytes: Option<usize>,
    /// So many tasks may be queued, of all jobs together [default: 1000000000]
    #[arg(long, env = "GRISTMILL_MAX_QUEUED_TASKS", value_name = "N")]
    pub(super) max_queued_tasks: Option<u64>,
    /// So much input may be queued, of all jobs together [default: 64GiB]
    #[arg(long, env = "GRISTMILL_MAX_QUEUED_BYTES", value_name = "SIZE")]
    pub(super) max_queued_bytes: Option<String>,
    /// How long a job is kept after its end [default: 7d]
    #[arg(long, env = "GRISTMILL_RETENTION", value_name = "DURATION")]
    pub(super) retention: Option<String>,
    /// How many jobs that have ended are kept, the newest ones [default: all within the retention]
    #[arg(long, env = "GRISTMILL_RETENTION_COUNT", value_name = "N")]
    pub(super) retention_count: Option<u64>,
    /// A file of tokens, one a line, after its scope (read, submit or admin); beats `GRISTMILL_TOKEN`, which has one
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Ask nobody for a token, on whatever address
    #[arg(long, env = "GRISTMILL_NO_AUTH", num_args = 0..=1, default_missing_value = "true")]
    pub(super) no_auth: Option<bool>,
    /// Names, beside localhost, that the server is called by where it asks for no token
    #[arg(long, env = "GRISTMILL_ALLOWED_HOSTS", value_name = "HOST,…", value_delimiter = ',')]
    pub(super) allowed_hosts: Option<Vec<String>>,
    /// Origins, beside its own, whose pages may call the server, such as `https://jobs.example.com`
    #[arg(long, env = "GRISTMILL_ALLOWED_ORIGINS", value_name = "ORIGIN,…", value_delimiter = ',')]
    pub(super) allowed_origins: Option<Vec<String>>,
    /// Hosts that may be told the end of a job: `hooks.example.com`, `*.example.com:8443`, `http://10.0.0.7` [default: none]
    #[arg(long, env = "GRISTMILL_CALLBACK_HOSTS", value_name = "HOST,…", value_delimiter = ',')]
    pub(super) callback_hosts: Option<Vec<String>>,
    /// Networks where those hosts may be though they are not public, such as `10.0.0.0/8`
    #[arg(long, env = "GRISTMILL_CALLBACK_NETWORKS", value_name = "NETWORK,…", value_delimiter = ',')]
    pub(super) callback_networks: Option<Vec<String>>,
    /// A file of secrets that callbacks are signed with, whsec_…; beats `GRISTMILL_CALLBACK_SECRET`, which has them itself
    #[arg(long, value_name = "FILE")]
    pub(super) callback_secret_file: Option<PathBuf>,
    /// A file of the authorities, in PEM, whose certificates callback hosts must have [default: the usual ones, built in]
    #[arg(long, env = "GRISTMILL_CALLBACK_CA_FILE", value_name = "FILE")]
    pub(super) callback_ca_file: Option<PathBuf>,
    /// Offer the function `fail`, which crashes, hangs and leaks on demand
    #[arg(long, env = "GRISTMILL_ENABLE_FAIL", num_args = 0..=1, default_missing_value = "true")]
    pub(super) enable_fail: Option<bool>,
    /// How to write the log [default: text on a terminal, json otherwise]
    #[arg(long, env = "GRISTMILL_LOG_FORMAT")]
    pub(super) log_format: Option<LogFormat>,
    /// The functions declared in the file.
    #[arg(skip)]
    #[serde(default)]
    pub(super) functions: BTreeMap<String, RawFunction>,
    /// Where the file is; what it names is relative to that.
    #[arg(skip)]
    #[serde(skip)]
    pub(super) dir: PathBuf,
    /// The whole file.
    #[arg(skip)]
    #[serde(skip)]
    pub(super) text: String,
}

/// How the log is written.
#[derive(Deserialize, ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A readable line an event.
    Text,
    /// A JSON object a line.
    Json,
}

impl RawConfig {
    /// What the file says.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let raw = Self::from_toml(&text).with_context(|| format!("in {}", path.display()))?;
        let dir = std::path::absolute(path)?.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let beside = |path: Option<PathBuf>| path.map(|path| dir.join(path));
        let token_file = beside(raw.token_file);
        let callback_secret_file = beside(raw.callback_secret_file);
        let callback_ca_file = beside(raw.callback_ca_file);
        Ok(Self { token_file, callback_secret_file, callback_ca_file, dir, text, ..raw })
    }

    pub(super) fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let at = line.map_or_else(String::new, |line| format!("line {line}: "));
            anyhow::anyhow!("{at}{}", with_nearest(error.message()))
        })
    }

    /// This one, with what it does not say taken from `other`, a file.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            data_dir: self.data_dir.or(other.data_dir),
            processes: self.processes.or(other.processes),
            node: self.node.or(other.node),
            grace: self.grace.or(other.grace),
            max_body_bytes: self.max_body_bytes.or(other.max_body_bytes),
            max_input_bytes: self.max_input_bytes.or(other.max_input_bytes),
            max_queued_tasks: self.max_queued_tasks.or(other.max_queued_tasks),
            max_queued_bytes: self.max_queued_bytes.or(other.max_queued_bytes),
            retention: self.retention.or(other.retention),
            retention_count: self.retention_count.or(other.retention_count),
            token_file: self.token_file.or_else(|| unless_in_environment(TOKEN_VARIABLE, other.token_file)),
            no_auth: self.no_auth.or(other.no_auth),
            allowed_hosts: self.allowed_hosts.or(other.allowed_hosts),
            allowed_origins: self.allowed_origins.or(other.allowed_origins),
            callback_hosts: self.callback_hosts.or(other.callback_hosts),
            callback_networks: self.callback_networks.or(other.callback_networks),
            callback_secret_file: self
                .callback_secret_file
                .or_else(|| unless_in_environment(SECRET_VARIABLE, other.callback_secret_file)),
            callback_ca_file: self.callback_ca_file.or(other.callback_ca_file),
            enable_fail: self.enable_fail.or(other.enable_fail),
            log_format: self.log_format.or(other.log_format),
            functions: other.functions,
            dir: other.dir,
            text: other.text,
        }
    }

    /// The address to listen on.
    pub fn listen_address(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)))
    }
}
