//! Which addresses Landfall itself may call: public ones, and those that the installation names.
//!
//! Without this, who may edit a `CloudCredential` could send the controller into its own network, or to a metadata service.
//! It keeps no token from him: a public address may be his own, so that admission lets only those edit a credential who
//! can read its Secret.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::timeout;
use url::{Host, Url};

use super::text;
use crate::api::Reason;
use crate::installation::Installation;
use crate::{Error, Result};

/// How long a name may take to resolve: the first server of two may be silent for five seconds. Behind a proxy nobody may answer at all.
const RESOLVED: Duration = Duration::from_secs(10);
/// The scheme of a DNS server.
const DNS: &str = "dns";

/// Parses an endpoint of a spec and checks it against the installation's list and the public ranges, every address
/// that its host has included. A DNS server, `dns://host:port`, is answered with one of its addresses for the host, so that
/// the name cannot lead elsewhere between the check and the call.
///
/// # Errors
/// `EndpointNotAllowed` names the field and says what to do; `ProviderUnavailable` where the host does not resolve.
pub async fn endpoint_allowed(installation: &Installation, field: &str, endpoint: &str) -> Result<Url> {
    let wanted = if endpoint.starts_with("dns:") { "a public address" } else { "a public https address" };
    let refuse = |why: String| {
        let message = format!("{field}: {why}; use {wanted}, or have the installation's allowedEndpoints name it");
        Error::condition(Reason::EndpointNotAllowed, message)
    };
    let url = Url::parse(endpoint).map_err(|e| refuse(format!("{:?} is no URL ({e})", text::cap(endpoint, 120))))?;
    let is_dns = url.scheme() == DNS;
    let origin = if is_dns { text::cap(endpoint, 300) } else { url.origin().ascii_serialization() };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(format!("{origin} carries a user name or password")));
    }
    let listed = is_listed(installation, &url);
    if listed && !is_dns {
        return Ok(url);
    }
    if url.scheme() != "https" && !is_dns {
        return Err(refuse(format!("{origin} is not https")));
    }
    let addresses: Vec<IpAddr> = match url.host() {
        Some(Host::Ipv4(address)) => vec![address.into()],
        Some(Host::Ipv6(address)) => vec![address.into()],
        Some(Host::Domain(name)) => match resolve(name, port(&url).unwrap_or(443)).await {
            Ok(found) => found,
            Err(why) => {
                let proxied = installation.goes_by_proxy(&url);
                // Where it leads is the proxy's to say, and to refuse.
                if proxied && installation.proxy.resolves {
                    return Ok(url);
                }
                let next = if proxied {
                    "; where the proxy resolves it, proxy.resolves of landfall.yaml lets it pass"
                } else {
                    ""
                };
                let message = format!("{field}: host {name:?} does not resolve ({why}){next}");
                return Err(Error::condition(Reason::ProviderUnavailable, message));
            }
        },
        None => return Err(refuse(format!("{origin} has no host"))),
    };
    match addresses.iter().find(|a| !is_public(**a)) {
        Some(address) if !listed => Err(refuse(format!("{origin} leads to {address}, which is not a public address"))),
        _ if is_dns => pinned(&addresses, port(&url)).ok_or_else(|| refuse(format!("{origin} has no port"))),
        _ => Ok(url),
    }
}

/// A DNS server at the first of its addresses.
fn pinned(addresses: &[IpAddr], port: Option<u16>) -> Option<Url> {
    let address = SocketAddr::new(*addresses.first()?, port?);
    Url::parse(&format!("{DNS}://{address}")).ok()
}

fn port(url: &Url) -> Option<u16> {
    url.port_or_known_default().or_else(|| (url.scheme() == DNS).then_some(53))
}

/// Whether the installation lists scheme, host and port of this URL.
fn is_listed(installation: &Installation, url: &Url) -> bool {
    installation.allowed_endpoints.iter().filter_map(|text| Url::parse(text).ok()).any(|listed| {
        listed.scheme() == url.scheme()
            && listed.host().is_some()
            && listed.host() == url.host()
            && port(&listed) == port(url)
    })
}

/// Whether the installation lists a URL with this host, for name resolution, which sees no more than that.
pub(crate) fn is_listed_host(allowed_endpoints: &[String], host: &str) -> bool {
    allowed_endpoints
        .iter()
        .filter_map(|text| Url::parse(text).ok())
        .filter(|listed| listed.scheme() != DNS)
        .any(|listed| listed.host_str().is_some_and(|listed| listed.eq_ignore_ascii_case(host)))
}

/// All addresses of a host, or why there are none.
async fn resolve(host: &str, port: u16) -> Result<Vec<IpAddr>, String> {
    let found = timeout(RESOLVED, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| "no answer in time".to_owned())?.map_err(|e| e.to_string())?;
    let addresses: Vec<_> = found.map(|a| a.ip()).collect();
    if addresses.is_empty() { Err("no address".into()) } else { Ok(addresses) }
}

/// Whether an address is on the public internet, by the IANA special-purpose registries (RFC 6890), and is no cloud's
/// metadata service.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    let special = match address.octets() {
        [0 | 10 | 127, ..] => true,
        [100, second, ..] => (64..128).contains(&second),
        [169, 254, ..] => true,
        [172, second, ..] => (16..32).contains(&second),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [192, 168, ..] => true,
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        [first, ..] => first >= 224,
    };
    !special && address != AZURE_WIRE_SERVER
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let [[o1, o2], [o3, o4]] = [high.to_be_bytes(), low.to_be_bytes()];
        is_public_v4(Ipv4Addr::new(o1, o2, o3, o4))
    };
    match (a, b) {
        // IPv4-mapped and NAT64 say where they lead.
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => v4(g, h),
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => v4(g, h),
        (0x2002, _) => v4(b, c),
        // Teredo, benchmarking, ORCHID and documentation lie in 2001::/23, 2001:db8::/32 and 3fff::/20.
        (0x2001, 0..0x200 | 0xdb8) => false,
        (0x3fff, 0..0x1000) => false,
        // Global unicast; all else (loopback, unique local, link-local, multicast, …) is not.
        (0x2000..0x4000, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn installation(allowed: &[&str]) -> Installation {
        serde_json::from_value(serde_json::json!({
            "encryption": {"current": "a", "keys": {}}, "allowedEndpoints": allowed,
        }))
        .unwrap()
    }

    async fn verdict(allowed: &[&str], endpoint: &str) -> Result<Url, (Reason, String)> {
        let result = endpoint_allowed(&installation(allowed), "spec.powerdns.endpoint", endpoint).await;
        result.map_err(|e| (e.reason(), e.to_string()))
    }

    #[tokio::test]
    async fn addresses_that_are_not_public_are_refused_in_every_spelling() {
        for endpoint in [
            "https://127.0.0.1",
            "https://2130706433",
            "https://0x7f.1",
            "https://0177.0.0.1",
            "https://127.1:8443/x",
            "https://0.0.0.0",
            "https://10.1.2.3",
            "https://172.16.0.1",
            "https://172.31.255.255",
            "https://192.168.1.1",
            "https://100.64.0.1",
            "https://100.100.100.200",
            "https://169.254.169.254/latest",
            "https://168.63.129.16",
            "https://192.0.0.192",
            "https://198.18.0.1",
            "https://224.0.0.1",
            "https://255.255.255.255",
            "https://[::1]",
            "https://[::]",
            "https://[::ffff:127.0.0.1]",
            "https://[::ffff:10.0.0.1]",
            "https://[::ffff:a9fe:a9fe]",
            "https://[::127.0.0.1]",
            "https://[64:ff9b::a9fe:a9fe]",
            "https://[2002:7f00:1::]",
            "https://[2001::1]",
            "https://[2001:db8::1]",
            "https://[fe80::1]",
            "https://[fd00:ec2::254]",
            "https://[fc00::1]",
            "https://[ff02::1]",
            "https://localhost",
        ] {
            let (reason, message) = verdict(&[], endpoint).await.unwrap_err();
            assert_eq!(reason, Reason::EndpointNotAllowed, "{endpoint}: {message}");
            assert!(message.starts_with("spec.powerdns.endpoint: "), "{message}");
        }
    }

    /// Behind a proxy many a name resolves for the proxy alone; what is known here not to be public is refused all the same.
    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_left_to_the_proxy_where_there_is_one() {
        let mut behind = installation(&[]);
        let verdict = async |of: &Installation, endpoint: &str| {
            endpoint_allowed(of, "spec.powerdns.endpoint", endpoint).await.map(drop).map_err(|e| e.reason())
        };
        assert_eq!(verdict(&behind, "https://ca.invalid/dir").await, Err(Reason::ProviderUnavailable));
        behind.proxy.https = Some("http://10.0.0.1:3128".into());
        assert_eq!(verdict(&behind, "https://ca.invalid/dir").await, Err(Reason::ProviderUnavailable));
        behind.proxy.resolves = true;
        assert_eq!(verdict(&behind, "https://ca.invalid/dir").await, Ok(()));
        for private in ["https://10.0.0.1", "https://localhost", "http://ca.invalid"] {
            assert_eq!(verdict(&behind, private).await, Err(Reason::EndpointNotAllowed), "{private}");
        }
        assert_eq!(verdict(&behind, "dns://ns.invalid").await, Err(Reason::ProviderUnavailable));
        // What is called without the proxy, on whichever port, the proxy does not refuse.
        behind.proxy.none = vec!["corp.invalid".into()];
        behind.allowed_endpoints = vec!["https://pdns.invalid:8443".into()];
        for straight in ["https://ca.corp.invalid", "https://corp.invalid:9200", "https://pdns.invalid:9200"] {
            assert_eq!(verdict(&behind, straight).await, Err(Reason::ProviderUnavailable), "{straight}");
        }
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_told_of_the_proxy_only_where_one_would_be_asked() {
        let mut of = installation(&[]);
        let said = async |of: &Installation| {
            endpoint_allowed(of, "spec.powerdns.endpoint", "https://ca.invalid").await.unwrap_err().to_string()
        };
        assert!(!said(&of).await.contains("proxy"));
        of.proxy.https = Some("http://10.0.0.1:3128".into());
        assert!(said(&of).await.contains("proxy.resolves"));
        of.proxy.none = vec!["invalid".into()];
        assert!(!said(&of).await.contains("proxy"));
    }

    #[tokio::test]
    async fn public_addresses_are_called_by_https_alone_and_never_with_a_password() {
        for endpoint in
            ["https://1.1.1.1", "https://[2606:4700::1111]:8443/base", "https://[::ffff:8.8.8.8]", "https://172.32.0.1"]
        {
            assert!(verdict(&[], endpoint).await.is_ok(), "{endpoint}");
        }
        for endpoint in [
            "http://1.1.1.1",
            "https://user@1.1.1.1",
            "https://:pw@1.1.1.1",
            "ftp://1.1.1.1",
            "file:///etc/passwd",
            "not a url",
            "",
        ] {
            assert_eq!(verdict(&[], endpoint).await.unwrap_err().0, Reason::EndpointNotAllowed, "{endpoint}");
        }
    }

    #[tokio::test]
    async fn a_dns_server_is_answered_with_an_address_that_is_permitted() {
        let allowed = &["dns://127.0.0.1:5353", "dns://localhost:53"];
        for (endpoint, permitted) in [
            ("dns://1.1.1.1:53", "dns://1.1.1.1:53"),
            ("dns://[2606:4700::1111]:5353", "dns://[2606:4700::1111]:5353"),
            ("dns://127.0.0.1:5353", "dns://127.0.0.1:5353"),
        ] {
            assert_eq!(verdict(allowed, endpoint).await.unwrap().as_str(), permitted);
        }
        let named = verdict(allowed, "dns://localhost:53").await.unwrap();
        assert!(named.host_str().unwrap().parse::<IpAddr>().is_ok() || named.host_str() == Some("[::1]"), "{named}");
        for refused in [
            "dns://127.0.0.1:53",
            "dns://10.0.0.1:53",
            "dns://[::1]:5353",
            "dns://2130706433:5353",
            "dns://localhost:5353",
            "dns://169.254.169.254:53",
            "http://127.0.0.1:5353",
        ] {
            let (reason, message) = verdict(allowed, refused).await.unwrap_err();
            assert_eq!(reason, Reason::EndpointNotAllowed, "{refused}: {message}");
            assert!(refused.starts_with("http") || message.contains(refused), "{message}");
        }
    }

    #[tokio::test]
    async fn the_installation_lists_by_scheme_host_and_port() {
        let allowed = &["http://127.0.0.1:8081/ignored", "https://dns.internal"];
        assert!(verdict(allowed, "http://127.0.0.1:8081").await.is_ok());
        assert!(verdict(allowed, "http://127.0.0.1:8081/api").await.is_ok());
        assert!(verdict(allowed, "https://DNS.internal:443/x").await.is_ok());
        for other in [
            "https://127.0.0.1:8081",
            "http://127.0.0.1:8082",
            "http://127.0.0.2:8081",
            "http://user:pw@127.0.0.1:8081",
        ] {
            assert_eq!(verdict(allowed, other).await.unwrap_err().0, Reason::EndpointNotAllowed, "{other}");
        }
    }
}
