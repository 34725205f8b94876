//! Who may be told: the operator's list of hosts, and the URLs that fit it.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// A URL may be this long, in bytes.
const MOST_URL_BYTES: usize = 2048;

/// The hosts that may be told.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Receivers(Vec<Receiver>);

/// One of the list: `hooks.example.com`, `*.example.com:8443`, `http://10.0.0.7:9000`.
#[derive(Clone, PartialEq, Debug)]
struct Receiver {
    scheme: &'static str,
    name: Name,
    port: u16,
}

#[derive(Clone, PartialEq, Debug)]
enum Name {
    Exactly(Host<String>),
    /// Any name that ends with a dot and this.
    Below(String),
}

impl Receivers {
    /// The list, from what the operator wrote.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        texts.iter().map(|text| text.trim().parse()).collect::<Result<_, _>>().map(Self)
    }

    /// Nobody may be told.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The URL, if it is one that may be told; otherwise, what would be right.
    pub fn check(&self, text: &str) -> Result<Url, String> {
        if text.len() > MOST_URL_BYTES {
            return Err(format!("it has {} bytes; it may have {MOST_URL_BYTES}", text.len()));
        }
        let mut url = Url::parse(text).map_err(|why| {
            format!("{text:?} is no URL ({why}); write it as https://hooks.example.com/path")
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it has user info; messages are signed, so leave that out".into());
        }
        url.set_fragment(None);
        if self.0.iter().any(|receiver| receiver.fits(&url)) {
            return Ok(url);
        }
        let allowed = self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let origin = url.origin().ascii_serialization();
        Err(format!("{origin} is not among what the operator allows: {allowed}"))
    }
}

impl Receiver {
    fn fits(&self, url: &Url) -> bool {
        let name = match (&self.name, url.host()) {
            (Name::Exactly(name), Some(host)) => name.to_string() == host.to_string(),
            (Name::Below(suffix), Some(Host::Domain(host))) => {
                host.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (Name::Below(_), Some(Host::Ipv4(_) | Host::Ipv6(_))) | (_, None) => false,
        };
        name && url.scheme() == self.scheme && url.port_or_known_default() == Some(self.port)
    }
}

impl FromStr for Receiver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no host; write it as \"hooks.example.com\", \"*.example.com\", with a port if it is not \
                 the usual one (\":8443\"), and with \"http://\" before it if it is to be told without TLS"
            )
        };
        let (scheme, authority) = match text.split_once("://") {
            None | Some(("https", _)) => ("https", text.strip_prefix("https://").unwrap_or(text)),
            Some(("http", rest)) => ("http", rest),
            Some(_) => return Err(wrong()),
        };
        let (below, host) = authority.strip_prefix("*.").map_or((false, authority), |rest| (true, rest));
        let url = Url::parse(&format!("{scheme}://{host}/")).map_err(|_| wrong())?;
        let is_bare = !host.contains(['/', '?', '#', '@', '*', '\\']) && !host.trim().is_empty();
        let host = url.host().filter(|_| is_bare).ok_or_else(wrong)?.to_owned();
        let name = match (below, host) {
            (false, host) => Name::Exactly(host),
            (true, Host::Domain(suffix)) => Name::Below(suffix),
            (true, Host::Ipv4(_) | Host::Ipv6(_)) => return Err(wrong()),
        };
        Ok(Self { scheme, name, port: url.port_or_known_default().ok_or_else(wrong)? })
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, usual) = match &self.name {
            Name::Exactly(host) => (host.to_string(), if self.scheme == "https" { 443 } else { 80 }),
            Name::Below(suffix) => (format!("*.{suffix}"), if self.scheme == "https" { 443 } else { 80 }),
        };
        write!(f, "{}://{name}", self.scheme)?;
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receivers(texts: &[&str]) -> Result<Receivers, String> {
        Receivers::parse(&texts.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_url_fits_by_scheme_host_and_port() {
        let allowed = receivers(&[
            "hooks.example.com",
            "*.example.org:8443",
            "http://10.0.0.7:9000",
            "https://[fd00::7]",
            "http://Bücher.example",
        ])
        .unwrap();
        let right = [
            "https://hooks.example.com/a?b=c",
            "https://HOOKS.example.com:443",
            "https://a.example.org:8443/",
            "https://a.b.example.org:8443/",
            "http://10.0.0.7:9000/x",
            "http://0xa.7:9000/x",
            "https://[fd00:0::7]/",
            "http://xn--bcher-kva.example/",
        ];
        right.iter().for_each(|url| assert!(allowed.check(url).is_ok(), "{url}: {:?}", allowed.check(url)));
        let wrong = [
            "http://hooks.example.com/",
            "https://hooks.example.com:444/",
            "https://hooks.example.com.evil.example/",
            "https://evilhooks.example.com/",
            "https://hooks.example.com./",
            "https://example.org:8443/",
            "https://.example.org:8443/",
            "https://evilexample.org:8443/",
            "https://a.example.org/",
            "http://10.0.0.8:9000/",
            "http://[::ffff:10.0.0.7]:9000/",
            "ftp://hooks.example.com/",
            "file:///etc/passwd",
        ];
        for url in wrong {
            let why = allowed.check(url).unwrap_err();
            assert!(
                why.contains("https://*.example.org:8443, http://10.0.0.7:9000, https://[fd00::7]"),
                "{url}: {why}"
            );
        }
    }

    #[test]
    fn a_url_is_kept_without_its_fragment_and_refused_with_user_info() {
        let allowed = receivers(&["a.example"]).unwrap();
        assert_eq!(allowed.check(" https://A.example/x?y#z").unwrap().as_str(), "https://a.example/x?y");
        for url in ["https://me@a.example/", "https://me:secret@a.example/", "https://:secret@a.example/"] {
            let why = allowed.check(url).unwrap_err();
            assert!(why.contains("user info") && !why.contains("secret"), "{why}");
        }
        for url in [
            "",
            "a.example",
            "/x",
            "https://",
            "https://a b/",
            &format!("https://a.example/{}", "x".repeat(2048)),
        ] {
            assert!(allowed.check(url).is_err(), "{url}");
        }
    }

    #[test]
    fn what_the_operator_allows_must_be_a_host() {
        let wrong = [
            "",
            "*",
            "*.",
            "https://",
            "ftp://a",
            "a/b",
            "a?b",
            "a#b",
            "me@a",
            "*.10.0.0.7",
            "*.*.a",
            "a.*",
            "a:b",
            "a b",
            "a:70000",
            "https://*",
            "http:a",
        ];
        for text in wrong {
            assert!(receivers(&[text]).is_err(), "{text:?}");
        }
        assert!(
            receivers(&["localhost:8080", "*.com", "[::1]", "http://127.0.0.1", "https://a.example"]).is_ok()
        );
    }
}
