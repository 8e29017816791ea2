#![allow(clippy::unwrap_used)]
use hickory_proto::op::OpCode;
use hickory_proto::rr::rdata::{A, AAAA, NS};

use super::*;
use crate::dns::wire::wire_name;

fn name(text: &str) -> Name {
    Name::presented(text).unwrap()
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(wire_name(&name(owner)).unwrap(), 60, data)
}

fn ns(owner: &str, host: &str) -> Record {
    record(owner, RData::NS(NS(wire_name(&name(host)).unwrap())))
}

fn sent(authorities: Vec<Record>) -> Message {
    let mut message = Message::response(1, OpCode::Query);
    message.authorities = authorities;
    message.additionals = vec![
        record("ns1.example.com", RData::A(A([192, 0, 2, 1].into()))),
        record("ns1.example.com", RData::AAAA(AAAA("2001:db8::1".parse().unwrap()))),
    ];
    message
}

#[test]
fn a_server_leads_down_towards_the_name_and_never_aside() {
    let told = |message: &Message| referral(message, &name("com"), &name("www.shop.example.com"));
    let found = told(&sent(vec![ns("example.com", "ns1.example.com"), ns("example.com", "ns2.example.net")])).unwrap();
    assert_eq!(found.zone, name("example.com"));
    assert_eq!(found.hosts, [name("ns1.example.com"), name("ns2.example.net")]);
    assert_eq!(found.glue.len(), 2);
    for aside in ["com", "net", "example.net", "other.com", "evilexample.com", "x.www.shop.example.com"] {
        assert_eq!(told(&sent(vec![ns(aside, "ns1.example.com")])), None, "{aside}");
    }
    let mut own = sent(vec![ns("example.com", "ns1.example.com")]);
    own.metadata.authoritative = true;
    assert_eq!(told(&own), None, "who answers leads nowhere");
    let mut failed = sent(vec![ns("example.com", "ns1.example.com")]);
    failed.metadata.response_code = ResponseCode::ServFail;
    assert_eq!(told(&failed), None);
}

#[test]
fn of_a_zone_with_thousands_of_servers_a_few_are_looked_up() {
    let many = (0..3000).map(|n| ns("example.com", &format!("ns{n}.example.net"))).collect();
    let found = referral(&sent(many), &name("com"), &name("www.example.com")).unwrap();
    assert_eq!(found.hosts.len(), HOSTS);
}

#[test]
fn the_machine_s_resolvers_are_read() {
    let text = "# comment\nsearch example.com\nnameserver 192.0.2.1\n nameserver\t2001:db8::53\nnameserver none\n";
    let wanted: Vec<SocketAddr> = vec!["192.0.2.1:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap()];
    assert_eq!(of_this_machine(text), wanted);
}
