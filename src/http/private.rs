//! Keeps webhooks away from this machine and from private networks, where the config wants that: whoever may choose a URL
//! must not reach through us what only we can reach.
//!
//! A name is looked up once for each connection, and the addresses that are looked at are those that are connected to: a
//! name that shows a public address first and a private one later (DNS rebinding) gains nothing.
use super::webhooks::{Address, Fault};
use super::{Url, is_this_machine};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::Deserialize;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;

/// Whether a webhook may go to addresses that are not public.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize)]
#[serde(from = "bool")]
pub enum Private {
    /// It may: receivers often stand in the same network.
    #[default]
    Allowed,
    /// It may not.
    Refused,
}

/// `allow_private` in the config.
impl From<bool> for Private {
    fn from(allow: bool) -> Self {
        if allow { Self::Allowed } else { Self::Refused }
    }
}

impl Private {
    /// Looks at what stands in the config, as far as it stands there.
    ///
    /// # Errors
    /// See [`Private::check`].
    pub fn check_written(self, address: &Address) -> Result<(), Fault> {
        match address {
            Address::Literal(url) => self.check(url),
            Address::Secret(_) => Ok(()),
        }
    }

    /// Looks at a URL whose host is an address, which nobody resolves, or this machine by name.
    ///
    /// # Errors
    /// Where it must not be used.
    pub fn check(self, url: &Url) -> Result<(), Fault> {
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let private = is_this_machine(host) || bare.parse().is_ok_and(|it: IpAddr| !is_public(it));
        if self == Self::Allowed || !private {
            return Ok(());
        }
        Err(Fault::Wrong(format!(
            "{host} is no public address, and allow_private = false refuses it; use a public one, or remove allow_private"
        )))
    }
}

/// Resolves names to public addresses alone. What looks them up is an argument, so that a test can change its mind.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublicOnly(pub(super) fn(String) -> LookUp);

/// A look-up under way.
pub(super) type LookUp = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Asks the system, as every other program does.
pub(super) fn look_up(name: String) -> LookUp {
    Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0(name.as_str().to_owned());
        Box::pin(async move { Ok(Box::new(public(name.as_str(), found.await?)?.into_iter()) as Addrs) })
    }
}

/// Why a name is not connected to.
#[derive(Debug, thiserror::Error)]
#[error("{0} resolves to no public address, and allow_private = false refuses any other")]
struct NotPublic(String);

/// Those of the addresses that may be connected to.
fn public(name: &str, mut found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, NotPublic> {
    found.retain(|it| is_public(it.ip()));
    if found.is_empty() { Err(NotPublic(name.to_owned())) } else { Ok(found) }
}

/// Whether an address is one of the public internet, by the special-purpose registries of IANA.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => is_public_v4(it),
        IpAddr::V6(it) => is_public_v6(it),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // "This network", private, loopback, multicast, reserved and broadcast.
        (0 | 10 | 127 | 224.., ..) => true,
        // Shared by the customers of a provider, and benchmarks.
        (100, 64..=127, _) | (198, 18 | 19, _) => true,
        (169, 254, _) | (172, 16..=31, _) | (192, 168, _) => true,
        // Protocol assignments, the old relays to IPv6, and documentation.
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 51, 100) | (203, 0, 113) => true,
        _ => false,
    };
    !special
}

/// Only what is handed out to the internet (2000::/3) is public; and what a gateway turns into IPv4 is as public as that.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(v4(high, low)),
        // 6to4 carries an address of IPv4; Teredo and its neighbours, documentation.
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn only_the_internet_is_public() {
        for it in ["8.8.8.8", "100.63.0.1", "172.32.0.1", "192.0.1.1", "2600::1", "64:ff9b::808:808", "2002:808:808::1"]
        {
            assert!(is_public(it.parse().unwrap()), "{it}");
        }
        let private = [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::7f00:1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "3fff::1",
            "64:ff9b:1::1",
        ];
        for it in private {
            assert!(!is_public(it.parse().unwrap()), "{it}");
        }
    }

    #[test]
    fn of_a_name_with_addresses_of_both_kinds_only_the_public_ones_are_connected_to() {
        let all: Vec<SocketAddr> = ["10.0.0.1:0", "8.8.8.8:0", "[::1]:0"].map(|it| it.parse().unwrap()).to_vec();
        assert_eq!(public("h", all.clone()).unwrap(), all[1..2]);
        let fault = public("hooks.example.com", all[..1].to_vec()).unwrap_err().to_string();
        assert!(fault.contains("hooks.example.com") && fault.contains("allow_private"), "{fault}");
    }

    #[tokio::test]
    async fn a_name_that_turns_private_is_not_connected_to() {
        static LOOKED_UP: AtomicUsize = AtomicUsize::new(0);
        // Public to whoever looks first, and this machine to whoever connects.
        fn rebinding(_: String) -> LookUp {
            let first = LOOKED_UP.fetch_add(1, Ordering::Relaxed) == 0;
            Box::pin(async move { Ok(vec![if first { "8.8.8.8:0" } else { "127.0.0.1:0" }.parse().unwrap()]) })
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://rebinding.example:{}/", listener.local_addr().unwrap().port());
        assert!(public("rebinding.example", rebinding(String::new()).await.unwrap()).is_ok());
        super::super::init();
        let client = reqwest::Client::builder().no_proxy().dns_resolver(PublicOnly(rebinding)).build().unwrap();
        let why = format!("{:?}", client.post(url).send().await.unwrap_err());
        assert!(why.contains("rebinding.example") && why.contains("NotPublic"), "{why}");
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(LOOKED_UP.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_address_in_a_url_is_looked_at_however_it_is_written() {
        for private in
            ["https://10.0.0.1/", "https://0x7f.1/", "https://2130706433/", "https://[::1]/", "http://localhost/"]
        {
            let url = Url::parse(private).unwrap();
            assert!(Private::Refused.check(&url).is_err(), "{private}");
            assert!(Private::Allowed.check(&url).is_ok(), "{private}");
        }
        for public in ["https://8.8.8.8/", "https://hooks.example.com/"] {
            assert!(Private::Refused.check(&Url::parse(public).unwrap()).is_ok(), "{public}");
        }
    }
}
