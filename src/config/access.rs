//! Who may call: the tokens, and what a server that is open to the network must have.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::Config;
use crate::access::{Browsers, Tokens, check_host, check_origin};

/// The variable that has the token: the server's, and that of who calls it.
pub const TOKEN_VARIABLE: &str = "GRISTMILL_TOKEN";
/// The permissions of those who are neither the owner nor of the group.
const OTHERS: u32 = 0o007;

/// The file of secrets that the configuration file names, unless the environment has the secret.
pub(super) fn unless_in_environment(variable: &str, file: Option<PathBuf>) -> Option<PathBuf> {
    file.filter(|_| std::env::var_os(variable).is_none())
}

/// The tokens, and what is dubious about them.
pub(super) fn tokens(token_file: Option<&Path>) -> Result<(Tokens, Option<String>)> {
    match (token_file, std::env::var_os(TOKEN_VARIABLE)) {
        (Some(path), _) => read(path).with_context(|| format!("token_file {}", path.display())),
        (None, Some(token)) => {
            let token = token.to_str().with_context(|| format!("{TOKEN_VARIABLE} is not UTF-8"))?;
            Ok((Tokens::one(token).context(TOKEN_VARIABLE)?, None))
        }
        (None, None) => Ok((Tokens::default(), None)),
    }
}

/// A file of secrets, and what is dubious about it.
pub(super) fn read_secrets(key: &str, path: &Path) -> std::io::Result<(String, Option<String>)> {
    let mut file = File::open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let open = file.metadata()?.permissions().mode() & OTHERS != 0;
    let warning = format!("every user of this machine can use {key} {0}; chmod 600 {0}", path.display());
    Ok((text, open.then_some(warning)))
}

fn read(path: &Path) -> Result<(Tokens, Option<String>)> {
    let (text, warning) = read_secrets("token_file", path)?;
    let tokens = Tokens::parse(&text).map_err(|(line, why)| anyhow::anyhow!("line {line}: {why}"))?;
    ensure!(!tokens.is_empty(), "there is no token in it");
    Ok((tokens, warning))
}

/// The hosts and origins that the operator allows.
pub(super) fn browsers(listen: IpAddr, hosts: Vec<String>, origins: Vec<String>) -> Result<Browsers> {
    let told = |key: &'static str| move |why| anyhow::anyhow!("{key}: {why}");
    hosts.iter().try_for_each(|host| check_host(host)).map_err(told("allowed_hosts"))?;
    origins.iter().try_for_each(|origin| check_origin(origin)).map_err(told("allowed_origins"))?;
    // As browsers write them.
    let origins = origins.into_iter().map(|origin| origin.to_ascii_lowercase()).collect();
    Ok(Browsers { loopback: is_loopback(listen), hosts, origins })
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

impl Config {
    /// Whether to listen there is safe, or wanted all the same.
    pub fn may_listen_on(&self, address: SocketAddr) -> Result<()> {
        if self.no_auth && !self.tokens.is_empty() {
            bail!("no_auth is set, and a token as well; take one of them away");
        }
        ensure!(
            is_loopback(address.ip()) || self.no_auth || !self.tokens.is_empty(),
            "whoever can reach {address} could run jobs: set {TOKEN_VARIABLE} (`openssl rand -hex 32` makes one) or \
             token_file; or say --no-auth, if everyone may"
        );
        Ok(())
    }

    /// What the operator should know about who may call.
    pub fn warnings(&self) -> Vec<String> {
        let open = self.no_auth && !self.browsers.loopback;
        let open = open.then(|| {
            format!(
                "no_auth: whoever can reach {} can run jobs, read all results and stop workers",
                self.listen
            )
        });
        self.secret_warnings.iter().cloned().chain(open).collect()
    }
}
