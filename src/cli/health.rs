//! `gristmill health`: the health check of a container, which has no other program to ask with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use super::client::Client;
use super::serve;
use super::streams::print_line;

/// A server that takes longer to answer is not healthy.
const PATIENCE: Duration = Duration::from_secs(4);

/// The arguments of `health`.
#[derive(Args, Debug)]
#[group(id = "health")]
pub(super) struct Arguments {
    #[command(flatten)]
    serve: serve::Arguments,
}

/// Asks the server that these settings start on this machine whether it takes work. Probes need no token.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let address = on_this_machine(arguments.serve.listen()?);
    let client = Client::new(format!("http://{address}"), None)?;
    super::block_on(async {
        let asked = tokio::time::timeout(PATIENCE, client.get("/readyz")).await;
        asked.with_context(|| format!("{address} did not answer within {} s", PATIENCE.as_secs()))?
    })?;
    print_line("ready")
}

/// A server on every address is on loopback too.
fn on_this_machine(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_every_address_is_asked_on_loopback() {
        let asked = |listen: &str| on_this_machine(listen.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(asked("[::]:80"), "[::1]:80");
        assert_eq!(asked("10.1.2.3:80"), "10.1.2.3:80");
    }
}
