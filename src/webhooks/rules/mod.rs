//! Who may be told the end of a job, at which addresses, signed how, and when it is tried again. Pure.

mod addresses;
mod receivers;
mod schedule;
mod signature;

use std::net::IpAddr;

use url::Host;

pub use addresses::Network;
pub use receivers::Receivers;
pub(super) use schedule::{Answer, MOST_WAIT, judge};
pub use signature::Secrets;

/// What the operator allows.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// Who may be told.
    pub receivers: Receivers,
    /// Networks whose addresses are good though they are not public.
    pub networks: Vec<Network>,
    /// What messages are signed with.
    pub secrets: Secrets,
}

impl Rules {
    /// Whether to connect to this address, which a host has; if not, what is wrong with it. An address that the URL names
    /// itself is one that the operator has named: no other passes as a receiver.
    pub(super) fn check_address(&self, host: &Host<&str>, address: IpAddr) -> Result<(), String> {
        let is_named = !matches!(host, Host::Domain(_));
        if is_named || self.networks.iter().any(|network| network.contains(address)) {
            return Ok(());
        }
        addresses::not_public(address).map_or(Ok(()), |kind| {
            Err(format!(
                "{host} resolves to {kind}; the operator can allow its network with callback_networks"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_public_or_named_or_of_an_allowed_network() {
        let rules = |networks: &[&str]| Rules {
            receivers: Receivers::default(),
            networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            secrets: Secrets::default(),
        };
        let name = Host::Domain("hooks.example.com");
        let private: IpAddr = "10.0.0.7".parse().unwrap();
        assert_eq!(rules(&[]).check_address(&name, "9.9.9.9".parse().unwrap()), Ok(()));
        let wrong = rules(&["10.1.0.0/16"]).check_address(&name, private).unwrap_err();
        assert!(wrong.starts_with("hooks.example.com resolves to a private address;"), "{wrong}");
        assert_eq!(rules(&["10.0.0.0/16"]).check_address(&name, private), Ok(()));
        assert_eq!(rules(&[]).check_address(&Host::Ipv4("10.0.0.7".parse().unwrap()), private), Ok(()));
    }
}
