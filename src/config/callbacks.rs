//! Who may be told the end of a job, and with which secrets.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};

use super::access::read_secrets;
use crate::webhooks::{Network, Receivers, Rules, Secrets, Settings, Trust};

/// The variable that has the secrets.
pub(super) const SECRET_VARIABLE: &str = "GRISTMILL_CALLBACK_SECRET";

/// What the operator has said.
pub(super) struct Raw<'a> {
    pub(super) hosts: &'a [String],
    pub(super) networks: &'a [String],
    pub(super) secret_file: Option<&'a Path>,
    pub(super) ca_file: Option<&'a Path>,
}

/// The settings, `None` without hosts, and what is dubious about the secrets. Hosts without a secret are refused here, so that no submit has to be.
pub(super) fn settings(raw: &Raw<'_>) -> Result<(Option<Arc<Settings>>, Option<String>)> {
    let receivers = Receivers::parse(raw.hosts).map_err(|why| anyhow::anyhow!("callback_hosts: {why}"))?;
    let networks = raw.networks.iter().map(|text| text.trim().parse::<Network>());
    let networks =
        networks.collect::<Result<_, _>>().map_err(|why| anyhow::anyhow!("callback_networks: {why}"))?;
    let (secrets, warning) = secrets(raw.secret_file)?;
    let trust = raw.ca_file.map_or_else(|| Ok(Trust::built_in()), trust)?;
    if receivers.is_empty() {
        return Ok((None, warning));
    }
    ensure!(
        !secrets.is_empty(),
        "callback_hosts is set, but no secret to sign with: set {SECRET_VARIABLE} (`echo whsec_$(openssl rand \
         -base64 32)` makes one) or callback_secret_file"
    );
    let settings = Settings { rules: Rules { receivers, networks, secrets }, trust };
    Ok((Some(Arc::new(settings)), warning))
}

fn secrets(file: Option<&Path>) -> Result<(Secrets, Option<String>)> {
    match (file, std::env::var_os(SECRET_VARIABLE)) {
        (Some(path), _) => {
            let told = || format!("callback_secret_file {}", path.display());
            let (text, warning) = read_secrets("callback_secret_file", path).with_context(told)?;
            Ok((Secrets::parse(&text).with_context(told)?, warning))
        }
        (None, Some(text)) => match text.to_str() {
            Some(text) => Ok((Secrets::parse(text).context(SECRET_VARIABLE)?, None)),
            None => bail!("{SECRET_VARIABLE} is not UTF-8"),
        },
        (None, None) => Ok((Secrets::default(), None)),
    }
}

fn trust(path: &Path) -> Result<Trust> {
    let told = || format!("callback_ca_file {}", path.display());
    Trust::from_pem(&std::fs::read(path).with_context(told)?).with_context(told)
}
