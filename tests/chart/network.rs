//! What a run's pod may reach, by the NetworkPolicy that the chart renders.

use std::net::IpAddr;

use serde_json::Value;

use crate::helm::{combinations, find, render};

/// Whether a block as `10.0.0.0/8` holds the address.
fn holds(block: &Value, address: IpAddr) -> bool {
    let (network, bits) = block.as_str().unwrap().split_once('/').unwrap();
    let (network, bits): (IpAddr, u32) = (network.parse().unwrap(), bits.parse().unwrap());
    match (network, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) => (n.to_bits() ^ a.to_bits()).checked_shr(32 - bits).unwrap_or_default() == 0,
        (IpAddr::V6(n), IpAddr::V6(a)) => (n.to_bits() ^ a.to_bits()).checked_shr(128 - bits).unwrap_or_default() == 0,
        _ => false,
    }
}

fn reaches(policy: &Value, address: &str) -> bool {
    let address = address.parse().unwrap();
    let rules = policy["spec"]["egress"].as_array().unwrap().iter();
    let peers = rules.flat_map(|rule| rule["to"].as_array().expect("a rule without peers would permit all"));
    peers.filter(|peer| !peer["ipBlock"].is_null()).any(|peer| {
        let mut except = peer["ipBlock"]["except"].as_array().into_iter().flatten();
        holds(&peer["ipBlock"]["cidr"], address) && !except.any(|block| holds(block, address))
    })
}

#[test]
fn a_run_reaches_clouds_and_nothing_near() {
    let all = combinations();
    let objects = render(&all[0].1).unwrap();
    let policy = find(&objects, "NetworkPolicy", "landfall-runs");
    for public in [
        "1.1.1.1",
        "9.255.255.255",
        "100.63.0.1",
        "172.32.0.1",
        "192.169.0.1",
        "223.255.255.1",
        "2606:4700::1",
        "2001:db8::1",
    ] {
        assert!(reaches(policy, public), "{public}");
    }
    for near in [
        "169.254.169.254",
        "169.254.170.2",
        "10.0.0.1",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "172.16.0.1",
        "172.31.255.254",
        "168.63.129.16", // what a cloud's agents are served from looks public
        "192.0.0.192",
        "192.168.1.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fd00:ec2::254",
        "fd12::1",
        "fe80::1",
        "ff02::1",
    ] {
        assert!(!reaches(policy, near), "{near}");
    }
    assert_eq!(policy["spec"]["ingress"].as_array().map(Vec::len), Some(0), "nobody reaches a run");
    assert_eq!(policy["spec"]["policyTypes"], serde_json::json!(["Ingress", "Egress"]));

    let objects = render(&all[2].1).unwrap();
    let policy = find(&objects, "NetworkPolicy", "landfall-runs");
    assert!(reaches(policy, "10.1.2.3") && !reaches(policy, "10.2.0.1"), "what a rule of the values says is added");
}
