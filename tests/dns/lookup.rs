//! What authoritative servers say, asked of PowerDNS and Knot, and of servers in this process that are dead, stale, or lead
//! from one to the next.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, NS, TXT};
use hickory_proto::rr::{Name as WireName, RData, Record, RecordType as WireType};
use landfall::dns::{Data, RecordType};
use landfall::installation::Installation;
use landfall::providers::{Dns, Outcome};
use landfall::zones::{Answers, Lookup, Said};
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::world::{self, change, clear, env, knot, name, pass, set, turn};

fn lookup(dns: Value) -> Lookup {
    let installation: Installation =
        serde_json::from_value(json!({"encryption": {"current": "a", "keys": {}}, "dns": dns})).unwrap();
    Lookup::new(&installation)
}

/// Both servers of the test bed, each for its zone.
fn bed() -> Lookup {
    lookup(json!({"authorities": [
        {"zone": env("PDNS_ZONE"), "servers": [env("PDNS_DNS")]},
        {"zone": env("KNOT_ZONE"), "servers": [env("KNOT_DNS")]},
    ]}))
}

fn text(value: &str) -> Data {
    Data::Txt(value.as_bytes().to_vec())
}

/// The only row of a table.
fn only(answers: &Answers) -> &Said {
    assert_eq!(answers.servers.len(), 1, "{answers:?}");
    &answers.servers[0].answer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_at_a_real_server_is_told_whatever_its_size_and_wherever_an_alias_leads() {
    let _turn = turn().await;
    let (pdns, knot) = (crate::pdns::powerdns(), knot());
    let (near, far) = (world::zone(&pdns, "PDNS_ZONE").await, world::zone(&knot, "KNOT_ZONE").await);
    let (at, there) =
        (|left: &str| format!("{left}.asked.{}", near.name), |left: &str| format!("{left}.asked.{}", far.name));
    clear(&pdns, &near, &format!("asked.{}", near.name)).await;
    clear(&knot, &far, &format!("asked.{}", far.name)).await;
    let large = "x".repeat(4000);
    let target = format!("{}.", there("text"));
    let near_sets = [
        set(&at("text"), RecordType::Txt, &["a", "b"]),
        set(&at("large"), RecordType::Txt, &[&large]),
        set(&at("alias"), RecordType::Cname, &[&target]),
        set(&at("loop"), RecordType::Cname, &[&format!("{}.", at("pool"))]),
        set(&at("pool"), RecordType::Cname, &[&format!("{}.", at("loop"))]),
    ];
    let far_sets = [set(&there("text"), RecordType::Txt, &["far"]), set(&there("large"), RecordType::Txt, &[&large])];
    pass(&pdns, &near, &near_sets).await;
    pass(&knot, &far, &far_sets).await;

    let lookup = bed();
    let ask = async |owner: &str| lookup.ask(&name(owner), RecordType::Txt).await;
    assert_eq!(only(&ask(&at("text")).await), &Said::Values { values: vec![text("a"), text("b")], ttl: 60 });
    for owner in [at("large"), there("large")] {
        assert!(ask(&owner).await.all_have(&text(&large)), "{owner} comes over TCP");
    }
    let answers = ask(&at("alias")).await;
    assert!(answers.all_have(&text("far")), "{answers:?}");
    let values = ask(&at("loop")).await.values();
    assert!(values.iter().all(|value| matches!(value, Data::Cname(_))), "a circle ends: {values:?}");
    for zone in [&near, &far] {
        assert_eq!(only(&ask(&format!("nothing.{}", zone.name)).await), &Said::NoName);
        assert_eq!(only(&ask(&format!("asked.{}", zone.name)).await), &Said::NoData, "a name between others");
    }
    let answers = lookup.ask(&name(&at("text")), RecordType::A).await;
    assert_eq!(only(&answers), &Said::NoData);
    assert!(answers.none_has(&text("a")) && !answers.undecided(&text("a")));

    // A wildcard is answered as any client would be; a change is seen at once.
    pass(&knot, &far, &[set(&there("*"), RecordType::Txt, &["any"])]).await;
    assert!(ask(&there("some")).await.all_have(&text("any")));
    let gone = change(Some(far_sets[0].clone()), None);
    assert_eq!(knot.apply(&far, &[gone]).await, [Outcome::Applied]);
    assert!(!ask(&there("text")).await.all_have(&text("far")));
}

/// A server of UDP in this process.
async fn server(address: SocketAddr, answer: impl Fn(&Query) -> Option<Message> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind(address).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let Some(mut message) = answer(&asked.queries[0]) else { continue };
            message.metadata.id = asked.id;
            message.queries.clone_from(&asked.queries);
            socket.send_to(&message.to_vec().unwrap(), from).await.unwrap();
        }
    });
    address
}

fn message(authoritative: bool) -> Message {
    let mut message = Message::response(0, hickory_proto::op::OpCode::Query);
    message.metadata.authoritative = authoritative;
    message
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(WireName::from_ascii(format!("{owner}.")).unwrap(), 60, data)
}

fn says(owner: &str, value: &str) -> Message {
    let mut message = message(true);
    message.add_answer(record(owner, RData::TXT(TXT::new(vec![value.into()]))));
    message
}

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[tokio::test(flavor = "multi_thread")]
async fn of_four_servers_one_is_dead_one_stale_and_one_refuses() {
    let _turn = turn().await;
    let pdns = crate::pdns::powerdns();
    let zone = world::zone(&pdns, "PDNS_ZONE").await;
    let owner = format!("four.{}", zone.name);
    pass(&pdns, &zone, &[set(&owner, RecordType::Txt, &["new"])]).await;
    let dead = server(ANY, |_| None).await;
    let stale_owner = owner.clone();
    let stale = server(ANY, move |_| Some(says(&stale_owner, "old"))).await;
    let table = async |servers: Vec<String>| {
        let lookup = lookup(json!({"authorities": [{"zone": zone.name.as_str(), "servers": servers}]}));
        let begin = Instant::now();
        let answers = lookup.ask(&name(&owner), RecordType::Txt).await;
        assert!(begin.elapsed() < Duration::from_millis(5500), "{:?}", begin.elapsed());
        answers
    };
    let (current, refuses) = (env("PDNS_DNS"), env("KNOT_DNS"));
    let answers = table(vec![current.clone(), stale.to_string(), dead.to_string(), refuses.clone()]).await;
    let said: Vec<_> = answers.servers.iter().map(|heard| heard.answer.clone()).collect();
    assert_eq!(said[0], Said::Values { values: vec![text("new")], ttl: 60 });
    assert_eq!(said[1], Said::Values { values: vec![text("old")], ttl: 60 });
    assert!(matches!(&said[2], Said::Nothing(why) if why.contains("in time")), "{said:?}");
    assert!(matches!(&said[3], Said::Nothing(why) if why.contains("REFUSED")), "{said:?}");
    assert!(answers.undecided(&text("new")) && answers.undecided(&text("old")) && answers.none_has(&text("x")));
    let answers = table(vec![current, dead.to_string(), refuses]).await;
    assert!(answers.all_have(&text("new")), "who does not answer says nothing against it: {answers:?}");
    let answers = table(vec![dead.to_string()]).await;
    assert!(!answers.answered() && answers.undecided(&text("new")));
    clear(&pdns, &zone, &owner).await;
}

/// A resolver, a top-level domain and a zone below it, each with an address of its own.
#[tokio::test(flavor = "multi_thread")]
async fn servers_are_found_from_the_top_and_no_resolver_hears_of_the_name() {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let (log, near) = (heard.clone(), "127.0.0.1".parse::<IpAddr>().unwrap());
    let resolver = server(ANY, move |query| {
        let asked = query.name().to_ascii();
        log.lock().unwrap().push(format!("{asked} {}", query.query_type()));
        let mut message = message(false);
        match (asked.as_str(), query.query_type()) {
            ("top.", WireType::NS) => {
                message.add_answer(record("top", RData::NS(NS(WireName::from_ascii("ns.top.").unwrap()))));
            }
            ("ns.top.", WireType::A) => {
                message.add_answer(record("ns.top", RData::A(A([127, 0, 0, 2].into()))));
            }
            ("ns.far.example.", WireType::A) => {
                message.add_answer(record("ns.far.example", RData::A(A([127, 0, 0, 3].into()))));
            }
            (_, WireType::AAAA) => {}
            _ => message.metadata.response_code = ResponseCode::ServFail,
        }
        Some(message)
    })
    .await;
    let zone = server("127.0.0.3:0".parse().unwrap(), |query| {
        Some(says(query.name().to_ascii().trim_end_matches('.'), "here"))
    })
    .await;
    let port = zone.port();
    server(SocketAddr::new("127.0.0.2".parse().unwrap(), port), |_| {
        let mut message = message(false);
        message.add_authority(record("zone.top", RData::NS(NS(WireName::from_ascii("ns.far.example.").unwrap()))));
        Some(message)
    })
    .await;
    let listed = json!([{"zone": "listed.test", "servers": [format!("{near}:1"), "127.0.0.2:1", "127.0.0.3:1"]}]);
    let found = lookup(json!({"resolvers": [resolver.to_string()], "authorities": listed})).with_port(port);
    for owner in ["www.zone.top", "other.zone.top"] {
        let answers = found.ask(&name(owner), RecordType::Txt).await;
        assert!(answers.all_have(&text("here")), "{answers:?}");
        assert_eq!((answers.servers[0].host.as_str(), answers.servers[0].address), ("ns.far.example", zone));
    }
    let mut asked = heard.lock().unwrap().clone();
    asked.sort();
    assert_eq!(
        asked,
        ["ns.far.example. A", "ns.far.example. AAAA", "ns.top. A", "ns.top. AAAA", "top. NS"],
        "each once"
    );
    // Without the installation's word no such address is asked.
    let found = lookup(json!({"resolvers": [resolver.to_string()]})).with_port(port);
    let answers = found.ask(&name("www.zone.top"), RecordType::Txt).await;
    assert!(answers.trouble.as_ref().is_some_and(|why| why.contains("127.0.0.2")), "{answers:?}");
    assert!(answers.servers.is_empty() && answers.undecided(&text("here")));
    let answers = found.ask(&name("www.unknown"), RecordType::Txt).await;
    assert!(answers.trouble.is_some() && !answers.answered());
}
