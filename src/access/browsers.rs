//! What a browser names in `Host` and `Origin`, by which it is told whether a page of somebody else's makes it call.
//!
//! A page can make its own name resolve to this machine (DNS rebinding); then `Host` has that name. A page of another
//! origin can send what a form can; then `Origin` has that origin.

use std::net::IpAddr;

/// Which hosts and origins are let in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Browsers {
    /// The server listens where only this machine can reach it.
    pub loopback: bool,
    /// Names that it is called by, with any port.
    pub hosts: Vec<String>,
    /// Origins, beside its own, whose pages may call it: `https://jobs.example.com`.
    pub origins: Vec<String>,
}

impl Browsers {
    /// Whether `host`, a name or address with or without a port, is one that the server is called by. An address
    /// cannot be made to resolve to another one; it is let in if the server can be reached at it.
    pub fn allows_host(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        match name.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback() || !self.loopback || self.names(name),
            Err(_) => name.eq_ignore_ascii_case("localhost") || self.names(name),
        }
    }

    /// Whether pages of this origin may call the server that they know as `host`.
    pub fn allows_origin(&self, origin: &str, host: &str) -> bool {
        let own = authority(origin).is_some_and(|authority| authority.eq_ignore_ascii_case(host));
        own || self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }

    fn names(&self, name: &str) -> bool {
        self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
}

/// `name:80` and `[::1]:80` without the port; `None` if it is neither with a port nor without.
fn without_port(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, port) = host.split_at(end);
    let is_port = port.strip_prefix(':').is_some_and(|port| port.bytes().all(|digit| digit.is_ascii_digit()));
    (!name.is_empty() && (port.is_empty() || is_port)).then_some(name)
}

fn authority(origin: &str) -> Option<&str> {
    origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))
}

/// Whether the operator can allow this host; if not, what would be right.
pub fn check_host(host: &str) -> Result<(), String> {
    if without_port(host) == Some(host) && is_plain(host) {
        return Ok(());
    }
    Err(format!("{host:?} is no host; write a name without scheme and port, such as \"jobs.example.com\""))
}

/// Whether the operator can allow this origin; if not, what would be right.
pub fn check_origin(origin: &str) -> Result<(), String> {
    if authority(origin).is_some_and(|host| without_port(host).is_some() && is_plain(host)) {
        return Ok(());
    }
    Err(format!(
        "{origin:?} is no origin; write scheme, host and port if it is not the usual one, such as \
         \"https://jobs.example.com\""
    ))
}

fn is_plain(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn browsers(loopback: bool) -> Browsers {
        let origins = vec!["https://Board.example".to_owned()];
        Browsers { loopback, hosts: vec!["jobs.example".to_owned()], origins }
    }

    #[test]
    fn a_host_is_this_machine_or_named_by_the_operator() {
        let loopback = browsers(true);
        for host in ["localhost", "LocalHost:1", "127.0.0.1:8080", "[::1]", "[::1]:8080", "Jobs.example:99"] {
            assert!(loopback.allows_host(host), "{host}");
        }
        let evil = [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil",
            "jobs.example:x",
        ];
        for host in evil.into_iter().chain([":80", "[::1", "::1x", "[::1]x", "localhost:80:80", "local host"])
        {
            assert!(!loopback.allows_host(host) && !browsers(false).allows_host(host), "{host}");
        }
        assert!(!loopback.allows_host("10.0.0.7:80") && browsers(false).allows_host("10.0.0.7:80"));
    }

    #[test]
    fn an_origin_is_its_own_or_named_by_the_operator() {
        let right = ["http://localhost:80", "https://localhost:80", "https://board.example"];
        right
            .iter()
            .for_each(|origin| assert!(browsers(true).allows_origin(origin, "localhost:80"), "{origin}"));
        let wrong =
            ["null", "", "localhost:80", "http://localhost", "http://localhost:81", "ftp://localhost:80"];
        for origin in
            wrong.into_iter().chain(["http://board.example", "https://board.example:444", "https://"])
        {
            assert!(!browsers(true).allows_origin(origin, "localhost:80"), "{origin}");
        }
    }

    #[test]
    fn what_the_operator_allows_must_be_a_host_or_an_origin() {
        assert!(
            ["jobs", "jobs.example.com", "10.0.0.7", "[fd00::7]"].iter().all(|host| check_host(host).is_ok())
        );
        assert!(
            ["", "*", "jobs:80", "http://jobs", "jobs/", "a b"].iter().all(|host| check_host(host).is_err())
        );
        assert!(
            ["http://jobs:81", "https://jobs.example.com"].iter().all(|origin| check_origin(origin).is_ok())
        );
        let wrong = ["*", "null", "jobs", "https://", "https://jobs/", "https://*.example.com", "ftp://jobs"];
        assert!(wrong.iter().all(|origin| check_origin(origin).is_err()));
    }
}
