//! What OpenTelemetry's variables say: where the collector is, and under which name the server reports.
//!
//! As in the OpenTelemetry specification (Protocol Exporter, SDK environment variables); an empty variable is as none.

use reqwest::Url;

const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const SERVICE: &str = "OTEL_SERVICE_NAME";

/// Where spans are told, and as whose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where they are posted.
    pub(super) url: Url,
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
        Ok(Some(Self { url, service: get(SERVICE).unwrap_or_else(|| "gristmill".to_owned()) }))
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

    #[test]
    fn a_password_is_not_told() {
        let get = |name: &str| (name == ALL).then(|| "http://me:secret@c:4318".to_owned());
        assert_eq!(Settings::from(get).unwrap().unwrap().told(), "http://c:4318/v1/traces");
    }
}
