#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, SOA, TXT};
use hickory_proto::rr::{Name as WireName, RData, Record, RecordType as WireType};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

/// How a server answers a name and a type.
#[derive(Clone)]
enum Manner {
    Text(&'static str),
    Alias(&'static str),
    Hosts(&'static [&'static str]),
    Address(Ipv4Addr),
    /// No, with the zone that says so.
    No(ResponseCode, &'static str),
    Code(ResponseCode),
    NotMine,
    /// So much text that it fits over TCP alone.
    Long,
    Silence,
}

fn wire(name: &str) -> WireName {
    WireName::from_ascii(format!("{name}.")).unwrap()
}

fn txt(text: &str) -> Data {
    Data::Txt(text.as_bytes().to_vec())
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

type Manners = fn(&str, WireType) -> Manner;

fn answer(question: &[u8], manners: Manners, over_tcp: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries.first().unwrap().clone();
    let mut message = Message::response(question.id, OpCode::Query);
    message.metadata.message_type = MessageType::Response;
    message.metadata.authoritative = !question.recursion_desired;
    let owner = query.name.clone();
    let asked = owner.to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let mut put = |data: RData| {
        message.answers.push(Record::from_rdata(owner.clone(), 60, data));
    };
    match manners(&asked, query.query_type) {
        Manner::Text(text) => put(RData::TXT(TXT::new(vec![text.into()]))),
        Manner::Alias(target) => put(RData::CNAME(CNAME(wire(target)))),
        Manner::Hosts(hosts) => hosts.iter().for_each(|host| put(RData::NS(NS(wire(host))))),
        Manner::Address(address) => put(RData::A(A(address))),
        Manner::Long if over_tcp => (0..20).for_each(|n| put(RData::TXT(TXT::new(vec![n.to_string().repeat(100)])))),
        Manner::Long => message.metadata.truncation = true,
        Manner::No(code, zone) => {
            message.metadata.response_code = code;
            let soa = SOA::new(wire("ns"), wire("mail"), 1, 1, 1, 1, 1);
            message.authorities.push(Record::from_rdata(wire(zone), 60, RData::SOA(soa)));
        }
        Manner::Code(code) => message.metadata.response_code = code,
        Manner::NotMine => message.metadata.authoritative = false,
        Manner::Silence => return None,
    }
    message.add_query(query);
    Some(message.to_vec().unwrap())
}

/// A server on UDP and TCP of one port.
async fn server(manners: Manners) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut bytes = vec![0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
            if let Some(answer) = answer(bytes.get(..length).unwrap(), manners, false) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut bytes = vec![0; length.into()];
            stream.read_exact(&mut bytes).await.unwrap();
            let answer = answer(&bytes, manners, true).unwrap();
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

fn lookup(authorities: &[(&str, &[SocketAddr])], resolvers: &[SocketAddr]) -> Lookup {
    let authorities: Vec<_> =
        authorities.iter().map(|(zone, servers)| json!({"zone": zone, "servers": servers})).collect();
    let installation = serde_json::from_value(json!({
        "encryption": {"current": "a", "keys": {}}, "dns": {"resolvers": resolvers, "authorities": authorities},
    }));
    Lookup::new(&installation.unwrap())
}

async fn text_at(lookup: &Lookup, asked: &str) -> Answers {
    lookup.ask(&name(asked), RecordType::Txt).await
}

#[tokio::test]
async fn each_server_has_its_own_line_and_only_answers_count() {
    let good = server(|_, _| Manner::Text("v")).await;
    let empty = server(|_, _| Manner::No(ResponseCode::NXDomain, "a.example")).await;
    let bare = server(|_, _| Manner::No(ResponseCode::NoError, "a.example")).await;
    let broken = server(|_, _| Manner::Code(ResponseCode::ServFail)).await;
    let stranger = server(|_, _| Manner::NotMine).await;
    let said = async |servers: &[SocketAddr]| text_at(&lookup(&[("a.example", servers)], &[]), "x.a.example").await;
    let all = said(&[good, empty, bare, broken, stranger]).await;
    let answers: Vec<Said> = all.servers.iter().map(|heard| heard.answer.clone()).collect();
    let [first, Said::NoName, Said::NoData, Said::Nothing(code), Said::Nothing(lame)] = answers.as_slice() else {
        panic!("{answers:?}")
    };
    assert_eq!(*first, Said::Values { values: vec![txt("v")], ttl: 60 });
    assert!(code.contains("SERVFAIL") && lame.contains("does not have the zone"), "{code} {lame}");
    assert!(all.undecided(&txt("v")) && all.values() == [txt("v")]);
    assert!(said(&[good, broken, stranger]).await.all_have(&txt("v")));
    let none = said(&[empty, bare, broken]).await;
    assert!(none.none_has(&txt("v")) && none.answered());
    let silent = said(&[broken, stranger]).await;
    assert!(!silent.answered() && silent.undecided(&txt("v")) && !silent.none_has(&txt("v")));
    assert!(said(&[good]).await.none_has(&txt("w")));
}

#[tokio::test]
async fn a_server_that_is_silent_costs_three_seconds_and_no_answer_of_the_others() {
    let good = server(|_, _| Manner::Text("v")).await;
    let silent = server(|_, _| Manner::Silence).await;
    let began = Instant::now();
    let all = text_at(&lookup(&[("a.example", &[silent, good, silent])], &[]), "a.example").await;
    assert!(began.elapsed() < Duration::from_millis(3500), "{:?}", began.elapsed());
    assert!(all.all_have(&txt("v")), "{all:?}");
    assert_eq!(all.servers.iter().filter(|h| matches!(h.answer, Said::Nothing(_))).count(), 2);
}

#[tokio::test]
async fn an_answer_that_is_cut_is_asked_for_over_tcp() {
    let long = server(|_, _| Manner::Long).await;
    let all = text_at(&lookup(&[("a.example", &[long])], &[]), "a.example").await;
    assert_eq!(all.values().len(), 20, "{all:?}");
}

#[tokio::test]
async fn the_longest_zone_has_the_servers() {
    let outer = server(|_, _| Manner::Text("outer")).await;
    let inner = server(|_, _| Manner::Text("inner")).await;
    let lookup = lookup(&[("example", &[outer]), ("dev.example", &[inner]), ("ev.example", &[outer])], &[]);
    assert_eq!(text_at(&lookup, "a.dev.example").await.values(), [txt("inner")]);
    assert_eq!(text_at(&lookup, "adev.example").await.values(), [txt("outer")]);
}

#[tokio::test]
async fn an_alias_is_followed_to_the_servers_of_its_target() {
    let here = server(|asked, _| match asked {
        "one.a.example" => Manner::Alias("two.b.example"),
        "ring.a.example" => Manner::Alias("ring.b.example"),
        _ => Manner::Alias("lost.nowhere"),
    })
    .await;
    let there = server(|asked, _| match asked {
        "two.b.example" => Manner::Alias("three.b.example"),
        "ring.b.example" => Manner::Alias("ring.a.example"),
        _ => Manner::Text("v"),
    })
    .await;
    let lookup = lookup(&[("a.example", &[here]), ("b.example", &[there])], &[]);
    let found = text_at(&lookup, "one.a.example").await;
    assert!(found.all_have(&txt("v")), "{found:?}");
    assert_eq!(found.servers.iter().map(|heard| heard.address).collect::<Vec<_>>(), [there]);
    let ring = text_at(&lookup, "ring.a.example").await;
    assert!(!ring.answered() && format!("{ring:?}").contains("lead back"), "{ring:?}");
    let alias = lookup.ask(&name("one.a.example"), RecordType::Cname).await;
    assert!(alias.all_have(&Data::Cname(name("two.b.example"))), "{alias:?}");
}

#[tokio::test]
async fn resolvers_say_who_the_servers_are_and_private_addresses_are_not_asked() {
    let resolver = server(|asked, kind| match (asked, kind) {
        ("example.org", WireType::NS) => Manner::Hosts(&["ns1.example.org", "ns2.example.org"]),
        ("ns1.example.org", WireType::A) => Manner::Address(Ipv4Addr::new(10, 0, 0, 53)),
        ("ns2.example.org", WireType::A) => Manner::Address(Ipv4Addr::LOCALHOST),
        (asked, WireType::NS) if asked.ends_with("example.org") => Manner::No(ResponseCode::NXDomain, "example.org"),
        (asked, WireType::NS) if asked.ends_with("broken.net") => Manner::Code(ResponseCode::ServFail),
        _ => Manner::No(ResponseCode::NoError, "org"),
    })
    .await;
    let dead = server(|_, _| Manner::Code(ResponseCode::Refused)).await;
    let lookup = lookup(&[], &[dead, resolver]);
    let found = text_at(&lookup, "_landfall-challenge.a.b.example.org").await;
    let hosts: Vec<&str> = found.servers.iter().map(|heard| heard.host.as_str()).collect();
    assert_eq!(hosts, ["ns1.example.org", "ns2.example.org"]);
    assert!(!found.answered() && format!("{found:?}").contains("is not a public address"), "{found:?}");
    let broken = text_at(&lookup, "www.broken.net").await;
    assert!(broken.servers.is_empty() && broken.trouble.as_ref().unwrap().contains("SERVFAIL"), "{broken:?}");
}

#[test]
fn the_resolvers_of_the_system_are_read() {
    let text =
        "# x\nnameserver 192.0.2.1\nsearch a\nnameserver\t2001:db8::1\nnameserver fe80::1%eth0\noptions ndots:5\n";
    let expected: [SocketAddr; 2] = [([192, 0, 2, 1], 53).into(), "[2001:db8::1]:53".parse().unwrap()];
    assert_eq!(resolvers_of(text), expected);
}
