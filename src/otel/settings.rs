//! What OpenTelemetry's variables say: where the collector is, which headers it wants, and under which name the server
//! reports.
//!
//! As in the OpenTelemetry specification (Protocol Exporter, SDK environment variables); an empty variable is as none.

use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ALL_HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
const SERVICE: &str = "OTEL_SERVICE_NAME";

/// Where spans are told, and as whose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where they are posted.
    pub(super) url: Url,
    /// What goes with each post, such as a key; not shown.
    pub(super) headers: HeaderMap,
    /// `service.name`.
    pub(super) service: String,
}

impl Settings {
    /// What the environment says; `None`: there is no collector. An error says which variable is wrong.
    pub fn from_environment() -> Result<Option<Self>, String> {
        Self::from(|name| std::env::var(name).ok())
    }

    fn from(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let get = |name: &str| get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let url = match (get(TRACES), get(ALL)) {
            (Some(text), _) => parse(TRACES, &text)?,
            (None, Some(text)) => {
                let mut url = parse(ALL, &text)?;
                url.set_path(&format!("{}/v1/traces", url.path().trim_end_matches('/')));
                url
            }
            (None, None) => return Ok(None),
        };
        let headers = [TRACES_HEADERS, ALL_HEADERS].into_iter().find_map(|name| Some((name, get(name)?)));
        let headers = headers.map_or(Ok(HeaderMap::new()), |(name, text)| parse_headers(name, &text))?;
        Ok(Some(Self { url, headers, service: get(SERVICE).unwrap_or_else(|| "gristmill".to_owned()) }))
    }

    /// The collector, without a password.
    pub(super) fn told(&self) -> String {
        format!("{}{}", self.url.origin().ascii_serialization(), self.url.path())
    }
}

fn parse(name: &str, said: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("{name} is {said:?}: {why}; it should be like http://localhost:4318");
    let url = Url::parse(said).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" => Ok(url),
        "https" => Err(wrong("TLS is not spoken to collectors")),
        _ => Err(wrong("it does not begin with http://")),
    }
}

/// As in W3C Baggage, which OpenTelemetry refers to: `key=value,key2=value2`, the values percent-encoded. An error says
/// which of them is wrong, and not what it says, as that may be a key.
fn parse_headers(name: &str, said: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (at, member) in said.split(',').enumerate().filter(|(_, member)| !member.trim().is_empty()) {
        let header = parse_header(member);
        let (key, value) = header.ok_or_else(|| {
            format!("member {} of {name} is no header; it should be like api-key=abc,tenant=a%20b", at + 1)
        })?;
        headers.insert(key, value);
    }
    Ok(headers)
}

fn parse_header(member: &str) -> Option<(HeaderName, HeaderValue)> {
    let (key, value) = member.split_once('=')?;
    let value: Vec<u8> = percent_decode_str(value.trim()).collect();
    let mut value = HeaderValue::from_bytes(&value).ok()?;
    value.set_sensitive(true);
    Some((key.trim().parse().ok()?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: &str, traces: &str) -> Result<Option<String>, String> {
        let get = |name: &str| match name {
            ALL => Some(all.to_owned()),
            TRACES => Some(traces.to_owned()),
            _ => None,
        };
        Settings::from(get).map(|settings| settings.map(|settings| settings.url.into()))
    }

    #[test]
    fn the_one_for_traces_goes_first_and_is_the_whole_address() {
        let some = |url: &str| Ok(Some(url.to_owned()));
        assert_eq!(of("http://c:4318", ""), some("http://c:4318/v1/traces"));
        assert_eq!(of("http://c:4318/otlp/", ""), some("http://c:4318/otlp/v1/traces"));
        assert_eq!(of("http://c:4318", "http://d/spans"), some("http://d/spans"));
        assert_eq!(of(" ", ""), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for wrong in ["localhost:4318", "https://c:4318", "grpc://c", "http://", "4318"] {
            let why = of(wrong, "").unwrap_err();
            assert!(why.contains(ALL) && why.contains(wrong), "{why}");
        }
    }

    fn headers_of(all: &str, traces: &str) -> Result<Vec<(String, String)>, String> {
        let get = |name: &str| match name {
            ALL => Some("http://c:4318".to_owned()),
            ALL_HEADERS => Some(all.to_owned()),
            TRACES_HEADERS => Some(traces.to_owned()),
            _ => None,
        };
        let headers = Settings::from(get)?.unwrap().headers;
        let text = |(key, value): (&HeaderName, &HeaderValue)| {
            (key.to_string(), String::from_utf8(value.as_bytes().to_vec()).unwrap())
        };
        Ok(headers.iter().map(text).collect())
    }

    #[test]
    fn headers_are_read_and_those_for_traces_go_first() {
        let pairs = |pairs: &[(&str, &str)]| {
            Ok(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        let two = " Api-Key = a%2Cb%3D%20%C3%A9== , tenant=x,";
        assert_eq!(headers_of(two, ""), pairs(&[("api-key", "a,b= é=="), ("tenant", "x")]));
        assert_eq!(headers_of("a=1", "b=2"), pairs(&[("b", "2")]));
        assert_eq!(headers_of("a=1,a=2", " "), pairs(&[("a", "2")]));
        assert_eq!(headers_of("", ""), pairs(&[]));
    }

    #[test]
    fn headers_that_are_none_are_refused_and_not_shown() {
        for wrong in ["secret", "a=1,b c=secret", "=secret", "a=secret%0d%0ax: y"] {
            let why = headers_of(wrong, "").unwrap_err();
            assert!(why.contains(ALL_HEADERS) && !why.contains("secret"), "{why}");
        }
        let get = |name: &str| match name {
            ALL => Some("http://c:4318".to_owned()),
            ALL_HEADERS => Some("key=secret".to_owned()),
            _ => None,
        };
        assert!(!format!("{:?}", Settings::from(get)).contains("secret"));
    }

    #[test]
    fn a_password_is_not_told() {
        let get = |name: &str| (name == ALL).then(|| "http://me:secret@c:4318".to_owned());
        assert_eq!(Settings::from(get).unwrap().unwrap().told(), "http://c:4318/v1/traces");
    }
}
