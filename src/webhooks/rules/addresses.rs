//! Which addresses are public: the others lead to this machine, to its neighbours, or nowhere.
//!
//! By the IANA registries of special-purpose addresses (RFC 6890 and what has been added since).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The addresses that begin with the same bits: `10.0.0.0/8`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    first: IpAddr,
    bits: u32,
}

impl Network {
    const fn v4(first: [u8; 4], bits: u32) -> Self {
        let [a, b, c, d] = first;
        Self { first: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits }
    }

    const fn v6(first: [u16; 4], bits: u32) -> Self {
        let [a, b, c, d] = first;
        Self { first: IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)), bits }
    }

    /// Whether this address is one of them. An IPv6 address is none of an IPv4 network's, even if it holds one.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    /// `10.0.0.0/8`, or one address.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no network; write it as \"10.0.0.0/8\" or \"fd00::/8\", or one address");
        let (first, bits) = text.split_once('/').map_or((text, None), |(first, bits)| (first, Some(bits)));
        let first: IpAddr = first.parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Self { first, bits }) }
    }
}

/// The IPv4 networks that are not public, and what their addresses are.
const NOT_PUBLIC_V4: [(Network, &str); 17] = [
    (Network::v4([0, 0, 0, 0], 8), "an address of this network"),
    (Network::v4([10, 0, 0, 0], 8), "a private address"),
    (Network::v4([100, 64, 0, 0], 10), "a carrier's shared address"),
    (Network::v4([127, 0, 0, 0], 8), "a loopback address"),
    (Network::v4([168, 63, 129, 16], 32), "a cloud's metadata address"),
    (Network::v4([169, 254, 0, 0], 16), "a link-local address"),
    (Network::v4([172, 16, 0, 0], 12), "a private address"),
    (Network::v4([192, 0, 0, 0], 24), "a reserved address"),
    (Network::v4([192, 0, 2, 0], 24), "a documentation address"),
    (Network::v4([192, 31, 196, 0], 24), "a reserved address"),
    (Network::v4([192, 88, 99, 0], 24), "a reserved address"),
    (Network::v4([192, 168, 0, 0], 16), "a private address"),
    (Network::v4([198, 18, 0, 0], 15), "a benchmarking address"),
    (Network::v4([198, 51, 100, 0], 24), "a documentation address"),
    (Network::v4([203, 0, 113, 0], 24), "a documentation address"),
    (Network::v4([224, 0, 0, 0], 4), "a multicast address"),
    (Network::v4([240, 0, 0, 0], 4), "a reserved address"),
];

/// IPv6 networks that are not public; those without this are only of interest for their name …
const NOT_PUBLIC_V6: [(Network, &str); 10] = [
    (Network { first: IpAddr::V6(Ipv6Addr::LOCALHOST), bits: 128 }, "a loopback address"),
    (
        Network { first: IpAddr::V6(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()), bits: 96 },
        "an IPv4-mapped address",
    ),
    (Network::v6([0x64, 0xff9b, 0, 0], 32), "a NAT64 address"),
    (Network::v6([0xfc00, 0, 0, 0], 7), "a unique-local address"),
    (Network::v6([0xfe80, 0, 0, 0], 10), "a link-local address"),
    (Network::v6([0xff00, 0, 0, 0], 8), "a multicast address"),
    (Network::v6([0x2001, 0, 0, 0], 23), "a reserved address"),
    (Network::v6([0x2001, 0xdb8, 0, 0], 32), "a documentation address"),
    (Network::v6([0x2002, 0, 0, 0], 16), "a 6to4 address"),
    (Network::v6([0x3fff, 0, 0, 0], 20), "a documentation address"),
];
/// … as all behind this is not public.
const PUBLIC_V6: Network = Network::v6([0x2000, 0, 0, 0], 3);

/// What an address is, unless it is public.
pub(super) fn not_public(address: IpAddr) -> Option<&'static str> {
    let known = if address.is_ipv4() { &NOT_PUBLIC_V4[..] } else { &NOT_PUBLIC_V6[..] };
    let kind = known.iter().find(|(network, _)| network.contains(address)).map(|(_, kind)| *kind);
    let is_public = address.is_ipv4() || PUBLIC_V6.contains(address);
    kind.or((!is_public).then_some("a reserved address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_known_for_what_it_is() {
        let not_public = |text: &str| not_public(text.parse().unwrap());
        for text in
            ["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.0.1", "100.128.0.0", "172.15.0.1", "172.32.0.1"]
        {
            assert_eq!(not_public(text), None, "{text}");
        }
        for text in
            ["192.0.1.0", "198.17.0.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1"]
        {
            assert_eq!(not_public(text), None, "{text}");
        }
        let kinds = [
            ("a loopback", "127.0.0.1 127.255.0.1 ::1"),
            ("a private", "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1"),
            ("a link-local", "169.254.169.254 169.254.0.1 fe80::1 febf::1"),
            ("a unique-local", "fc00::1 fdff::1 fd00:ec2::254 fd20:ce::254"),
            ("a carrier's shared", "100.64.0.1 100.100.100.200 100.127.255.255"),
            ("a multicast", "224.0.0.1 239.255.255.250 ff02::1"),
            ("a documentation", "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1"),
            ("an IPv4-mapped", "::ffff:127.0.0.1 ::ffff:9.9.9.9"),
            ("a NAT64", "64:ff9b::7f00:1 64:ff9b:1::a00:1"),
            ("a 6to4", "2002:7f00:1::"),
            ("a cloud's metadata", "168.63.129.16"),
            ("an address of this network", "0.0.0.0 0.1.2.3"),
            ("a benchmarking", "198.18.0.1 198.19.255.255"),
            (
                "a reserved",
                "192.0.0.192 240.0.0.1 255.255.255.255 2001::1 :: ::7f00:1 100::1 fec0::1 5f00::1 4000::",
            ),
        ];
        for (kind, texts) in kinds {
            for text in texts.split(' ') {
                let seen = not_public(text).unwrap_or("public");
                assert!(seen.starts_with(kind), "{text} is {seen}, not {kind}");
            }
        }
    }

    #[test]
    fn a_network_is_written_by_its_first_address_and_its_bits() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(
            contains("0.0.0.0/0", "255.0.0.1") && !contains("0.0.0.0/0", "::1") && contains("::/0", "ff::")
        );
        assert!(contains("127.0.0.1", "127.0.0.1") && !contains("127.0.0.1", "127.0.0.2"));
        assert!(contains("10.9.9.9/8", "10.0.0.1") && !contains("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(contains("fd00::/8", "fdaa::1") && !contains("::1/128", "::2"));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/-1", "localhost", "10.0.0.0/8 "]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
