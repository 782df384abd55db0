//! Restricts which addresses images may be read from (protection against SSRF).
//!
//! In a cluster, the user who writes an image's URL is not the one who runs vsiflow. That user must not reach
//! what only vsiflow's own machine can reach: itself, its link, its private networks, the services of its
//! cloud. A name is resolved when it is connected to; its addresses are checked, and only those are connected
//! to, so the name cannot change its meaning in between.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::oci::reference::is_oci;

/// Why an address is refused; the text holds no secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AddressRefused(pub(crate) String);

/// A network such as `10.1.0.0/16`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

impl Cidr {
    const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        let base = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
        Self { base, prefix }
    }

    const fn v6(first: u16, second: u16, prefix: u8) -> Self {
        let base = IpAddr::V6(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0));
        Self { base, prefix }
    }

    fn holds(self, address: IpAddr) -> bool {
        let bits = |bits: u128, width: u32| {
            let rest = width.saturating_sub(u32::from(self.prefix));
            bits.checked_shr(rest).unwrap_or(0)
        };
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                bits(u128::from(base.to_bits()), 32) == bits(u128::from(address.to_bits()), 32)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                bits(base.to_bits(), 128) == bits(address.to_bits(), 128)
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (base, prefix) = text.split_once('/').unwrap_or((text, ""));
        let invalid =
            || format!("{text:?} is not a network; write it as 10.1.0.0/16 or fd00:1::/64");
        let base: IpAddr = base.parse().map_err(|_| invalid())?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            "" if !text.contains('/') => longest,
            prefix => prefix.parse().map_err(|_| invalid())?,
        };
        let network = Self { base, prefix };
        if prefix <= longest {
            Ok(network)
        } else {
            Err(invalid())
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// IPv4 addresses that are not globally unique, and those at which clouds offer services to a machine.
const INTERNAL_V4: [Cidr; 17] = [
    Cidr::v4(0, 0, 0, 0, 8),
    Cidr::v4(10, 0, 0, 0, 8),
    Cidr::v4(100, 64, 0, 0, 10),
    Cidr::v4(127, 0, 0, 0, 8),
    Cidr::v4(168, 63, 129, 16, 32),
    Cidr::v4(169, 254, 0, 0, 16),
    Cidr::v4(172, 16, 0, 0, 12),
    Cidr::v4(192, 0, 0, 0, 24),
    Cidr::v4(192, 0, 2, 0, 24),
    Cidr::v4(192, 88, 99, 0, 24),
    Cidr::v4(192, 168, 0, 0, 16),
    Cidr::v4(198, 18, 0, 0, 15),
    Cidr::v4(198, 51, 100, 0, 24),
    Cidr::v4(203, 0, 113, 0, 24),
    Cidr::v4(224, 0, 0, 0, 4),
    Cidr::v4(240, 0, 0, 0, 4),
    Cidr::v4(255, 255, 255, 255, 32),
];

/// The globally routed part of IPv6; `INTERNAL_V6` lists what in it is reserved, local, or a tunnel.
const GLOBAL_V6: Cidr = Cidr::v6(0x2000, 0, 3);
const INTERNAL_V6: [Cidr; 4] = [
    Cidr::v6(0x2001, 0, 23),
    Cidr::v6(0x2001, 0x0db8, 32),
    Cidr::v6(0x2002, 0, 16),
    Cidr::v6(0x3fff, 0, 20),
];

/// The IPv4 address that an IPv6 address is mapped from or translated to; otherwise the address itself.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else {
        return address;
    };
    let [a, b, c, d, e, f, high, low] = six.segments();
    let four = Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => IpAddr::V4(four),
        _ => address,
    }
}

fn is_internal(address: IpAddr) -> bool {
    let within = |all: &[Cidr]| all.iter().any(|network| network.holds(address));
    match address {
        IpAddr::V4(_) => within(&INTERNAL_V4),
        IpAddr::V6(_) => !GLOBAL_V6.holds(address) || within(&INTERNAL_V6),
    }
}

/// The addresses that images may be read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Any address: the user who writes the URL runs vsiflow.
    #[default]
    Any,
    /// Globally unique addresses, and those in these networks.
    PublicAnd(Vec<Cidr>),
}

impl AddressPolicy {
    /// Whether an address may be connected to.
    pub fn permit(&self, address: IpAddr) -> bool {
        let Self::PublicAnd(networks) = self else {
            return true;
        };
        let address = plain(address);
        !is_internal(address) || networks.iter().any(|network| network.holds(address))
    }

    /// Checks a literal address in a URL. A name is checked after it is resolved.
    pub(crate) fn judge(&self, url: &Url) -> Result<(), AddressRefused> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(name))
                if *self != Self::Any && proxies().any(|proxy| proxy == name) =>
            {
                return Err(refused(&format!("the proxy {name}")));
            }
            _ => return Ok(()),
        };
        if self.permit(address) {
            Ok(())
        } else {
            Err(refused(&address.to_string()))
        }
    }

    /// Checks a URL like `AddressPolicy::judge`, so that a document can be refused before anything is read.
    ///
    /// # Errors
    /// Why it is refused, in words.
    pub fn judge_text(&self, url: &str) -> Result<(), String> {
        let parsed = Url::parse(url).map_err(|error| error.to_string())?;
        // Only in `http` and similar schemes does the parser recognise every notation of an address.
        let judged = if !is_oci(&parsed) {
            parsed
        } else {
            let server = parsed.host_str().unwrap_or_default();
            Url::parse(&format!("https://{server}/")).map_err(|error| error.to_string())?
        };
        self.judge(&judged).map_err(|AddressRefused(why)| why)
    }

    /// A resolver that returns only permitted addresses; `None` if all are permitted.
    pub(crate) fn resolver(&self) -> Option<Arc<PolicyResolver>> {
        let judged = *self != Self::Any;
        judged.then(|| Arc::new(PolicyResolver(self.clone())))
    }
}

fn refused(what: &str) -> AddressRefused {
    AddressRefused(format!(
        "images are not read from {what}, which is not a public address; \
         --allow-image-addresses of `vsiflow serve` permits networks"
    ))
}

/// The names of the proxies from the environment. They belong to the user who runs vsiflow, and decide
/// themselves where they connect to.
fn proxies() -> impl Iterator<Item = String> {
    const NAMES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let names = NAMES
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_lowercase()]);
    names.filter_map(|name| {
        let text = std::env::var(name).ok()?;
        let url = Url::parse(&text)
            .ok()
            .filter(Url::has_host)
            .or_else(|| Url::parse(&format!("http://{text}")).ok())?;
        Some(url.host_str()?.to_owned())
    })
}

/// Resolves names and returns only permitted addresses.
pub(crate) struct PolicyResolver(AddressPolicy);

impl PolicyResolver {
    fn permitted(
        &self,
        name: &str,
        found: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, AddressRefused> {
        if proxies().any(|proxy| proxy == name) {
            return Ok(found);
        }
        let (permitted, others): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|address| self.0.permit(address.ip()));
        match (permitted.as_slice(), others.first()) {
            ([], Some(other)) => Err(refused(&format!("{name}, which is {}", other.ip()))),
            _ => Ok(permitted),
        }
    }
}

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let judging = Self(self.0.clone());
        Box::pin(async move {
            let resolved = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted = judging.permitted(name.as_str(), resolved.collect())?;
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(networks: &[&str]) -> AddressPolicy {
        AddressPolicy::PublicAnd(networks.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn what_is_not_everybodys_is_internal_however_it_is_written() {
        for internal in [
            "http://127.0.0.1/x",
            "http://127.1/x",
            "http://2130706433/x",
            "http://0x7f.0.0.1/x",
            "http://0177.0.0.1/x",
            "http://0.0.0.0/x",
            "http://169.254.169.254/latest/meta-data/x",
            "http://168.63.129.16/x",
            "http://100.100.100.200/x",
            "http://10.96.0.1/x",
            "http://172.31.255.255/x",
            "http://192.168.1.1/x",
            "http://[::1]/x",
            "http://[::]/x",
            "http://[fe80::1]/x",
            "http://[fd00:ec2::254]/x",
            "http://[::ffff:169.254.169.254]/x",
            "http://[::ffff:a9fe:a9fe]/x",
            "http://[64:ff9b::169.254.169.254]/x",
            "http://[2002:a9fe:a9fe::1]/x",
            "http://[::127.0.0.1]/x",
            "oci://127.0.0.1:5000/a:b",
            "oci://2130706433/a:b",
            "oci+http://[::1]/a:b",
            "oci://169.254.169.254/a:b",
        ] {
            assert!(only(&[]).judge_text(internal).is_err(), "{internal}");
            assert!(
                AddressPolicy::Any.judge_text(internal).is_ok(),
                "{internal}"
            );
        }
        for public in [
            "http://9.9.9.9/x",
            "http://172.32.0.1/x",
            "http://[2a00:1450::1]/x",
            "http://[64:ff9b::9.9.9.9]/x",
            "https://images.example/x",
            "oci://registry.example:5000/a:b",
            "oci://9.9.9.9/a:b",
        ] {
            assert!(only(&[]).judge_text(public).is_ok(), "{public}");
        }
    }

    #[test]
    fn a_network_that_is_permitted_is_no_larger_than_it_says() {
        let some = only(&["10.1.0.0/16", "fd00:1::/64", "127.0.0.1"]);
        for (url, may) in [
            ("http://10.1.255.255/x", true),
            ("http://[::ffff:10.1.2.3]/x", true),
            ("http://10.2.0.0/x", false),
            ("http://[fd00:1::9]/x", true),
            ("http://[fd00:1:0:1::9]/x", false),
            ("http://127.0.0.1/x", true),
            ("http://127.0.0.2/x", false),
        ] {
            assert_eq!(some.judge_text(url).is_ok(), may, "{url}");
        }
        assert!(
            only(&["0.0.0.0/0"])
                .judge_text("http://127.0.0.1/x")
                .is_ok()
        );
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "ten",
            "10.0.0.0/-1",
            "::/129",
        ] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
        assert_eq!(
            "10.1.2.3".parse::<Cidr>().unwrap().to_string(),
            "10.1.2.3/32"
        );
    }

    #[test]
    fn of_the_addresses_of_a_name_only_those_are_left_that_may_be_connected_to() {
        let judging = PolicyResolver(only(&[]));
        let all = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let mixed = all(&["127.0.0.1:0", "9.9.9.9:0"]);
        assert_eq!(judging.permitted("a", mixed).unwrap(), all(&["9.9.9.9:0"]));
        let error = judging
            .permitted("a", all(&["10.0.0.1:0", "[::1]:0"]))
            .unwrap_err();
        assert!(
            error.to_string().contains("a, which is 10.0.0.1"),
            "{error}"
        );
        assert!(judging.permitted("a", Vec::new()).unwrap().is_empty());
    }
}
