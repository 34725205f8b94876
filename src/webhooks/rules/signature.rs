//! Messages are signed as Standard Webhooks 1.0 says: HMAC-SHA256 over id, time and body, with each secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// A secret has so many bytes, by the standard.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What messages are signed with: several while receivers change from one to the next.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secrets(Vec<Vec<u8>>);

/// Why a text is no secret. It never has the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a callback secret is whsec_ and the base64 of 24 to 64 random bytes; `echo whsec_$(openssl rand -base64 32)` makes one"
)]
pub struct BadSecret;

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Secrets {
    /// Secrets with white space between them; lines that begin with `#` say nothing.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        lines.flat_map(str::split_whitespace).map(secret).collect::<Result<_, _>>().map(Self)
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The header `webhook-signature` of a message: a signature by each secret.
    pub(in crate::webhooks) fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let each = self.0.iter().map(|secret| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
            mac.update(format!("{id}.{timestamp_s}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        });
        each.collect::<Vec<_>>().join(" ")
    }
}

fn secret(text: &str) -> Result<Vec<u8>, BadSecret> {
    let bytes = text.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
    bytes.filter(|bytes| BYTES.contains(&bytes.len())).ok_or(BadSecret)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that libraries of the standard test themselves with.
    #[test]
    fn a_signature_is_as_the_standard_has_it() {
        let secrets = Secrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(secrets.sign(id, 1_614_265_330, body), expected);
        let two = format!(
            "# new\nwhsec_{}\n# old\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
            STANDARD.encode([7; 64])
        );
        let both = Secrets::parse(&two).unwrap().sign(id, 1_614_265_330, body);
        assert!(both.starts_with("v1,") && both.ends_with(&format!(" {expected}")), "{both}");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        assert!(Secrets::parse(" \n# whsec_no\n").unwrap().is_empty());
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        assert!(Secrets::parse(&of(24)).is_ok() && Secrets::parse(&of(64)).is_ok());
        for wrong in [
            &of(23),
            &of(65),
            "whsec_",
            "whsec_!!!",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert_eq!(Secrets::parse(wrong), Err(BadSecret), "{wrong}");
        }
    }
}
