//! One question to one server: over UDP, and over TCP where the answer does not fit.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name as WireName, Record, RecordType as WireType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use super::table::Said;
use crate::dns::wire::{data, presented, wire_name, wire_type};
use crate::dns::{Data, Name, RecordType};

/// Octets that cross every network in one piece (DNS flag day 2020).
const PAYLOAD: u16 = 1232;
/// How long an answer over UDP is waited for before the question is sent again.
const AGAIN: Duration = Duration::from_millis(700);

/// What an authoritative server says of a name.
pub(super) async fn authority(server: SocketAddr, name: &Name, kind: RecordType, end: Instant) -> Said {
    match ask(server, name, wire_type(kind), false, end).await {
        Ok(message) => said(&message, name, kind),
        Err(why) => Said::Nothing(why),
    }
}

/// What a server says of a delegation at a name in its zone.
pub(super) async fn delegation(server: SocketAddr, name: &Name, end: Instant) -> Said {
    match ask(server, name, WireType::NS, false, end).await {
        Ok(message) => sent_on(&message, name),
        Err(why) => Said::Nothing(why),
    }
}

/// The whole answer of a server, whatever it is.
pub(super) async fn ask(
    server: SocketAddr,
    name: &Name,
    kind: WireType,
    recursive: bool,
    end: Instant,
) -> Result<Message, String> {
    let question = question(name, kind, recursive)?;
    let bytes = question.to_vec().map_err(|_| format!("{name} does not fit into a question"))?;
    let asked = async {
        let answer = over_udp(server, &question, &bytes).await?;
        if answer.truncation { over_tcp(server, &question, &bytes).await } else { Ok(answer) }
    };
    match timeout_at(end, asked).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".into()),
    }
}

fn question(name: &Name, kind: WireType, recursive: bool) -> Result<Message, String> {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = recursive;
    message.add_query(Query::query(wire_name(name)?, kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD).set_version(0);
    message.set_edns(edns);
    Ok(message)
}

async fn over_udp(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let mut buffer = vec![0; 4096];
    loop {
        socket.send(bytes).await?;
        let heard = timeout(AGAIN, async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                // What answers another question may be anybody's.
                if let Some(answer) = answer(question, buffer.get(..length).unwrap_or_default()) {
                    return Ok(answer);
                }
            }
        });
        if let Ok(heard) = heard.await {
            return heard;
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], bytes].concat()).await?;
    let mut heard = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut heard).await?;
    answer(question, &heard).ok_or_else(|| io::Error::other("the answer is to another question"))
}

/// The message, where it answers this question.
fn answer(question: &Message, bytes: &[u8]) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    let same = message.id == question.id && message.message_type == MessageType::Response;
    // Who refuses may leave the question out.
    let asked = message.queries == question.queries
        || (message.queries.is_empty() && message.response_code != ResponseCode::NoError);
    (same && asked).then_some(message)
}

/// What a message says of the name, as its own authority.
fn said(message: &Message, name: &Name, kind: RecordType) -> Said {
    match message.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain if !message.authoritative => {
            return Said::Nothing("it is no authority for the name".into());
        }
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Said::Nothing(format!("it answered {}", word(code))),
    }
    let of = |wanted: RecordType| {
        let records = message
            .answers
            .iter()
            .filter(move |record| is_of(record, name) && record.record_type() == wire_type(wanted));
        let values = records.clone().filter_map(|record| data(&record.data)?.ok()).collect::<Vec<Data>>();
        (values, records.map(|record| record.ttl).min().unwrap_or_default())
    };
    let (values, ttl) = of(kind);
    let (mut values, ttl) = if values.is_empty() { of(RecordType::Cname) } else { (values, ttl) };
    if !values.is_empty() {
        values.sort_unstable();
        values.dedup();
        return Said::Values { values, ttl };
    }
    if message.response_code == ResponseCode::NXDomain { Said::NoName } else { Said::NoData }
}

/// To whom a message sends on at this very name; what it says as its own authority, where the server has the part below too.
fn sent_on(message: &Message, name: &Name) -> Said {
    let to = message.authorities.iter().filter(|record| is_of(record, name) && record.record_type() == WireType::NS);
    let ttl = to.clone().map(|record| record.ttl).min().unwrap_or_default();
    let mut values: Vec<Data> = to.filter_map(|record| data(&record.data)?.ok()).collect();
    if message.authoritative || message.response_code != ResponseCode::NoError || values.is_empty() {
        return said(message, name, RecordType::Ns);
    }
    values.sort_unstable();
    values.dedup();
    Said::Values { values, ttl }
}

fn word(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::Refused => "REFUSED".into(),
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        other => format!("with code {}", u16::from(other)),
    }
}

fn is_of(record: &Record, name: &Name) -> bool {
    of_wire(&record.name).is_some_and(|owner| owner == *name)
}

/// A name of the wire as ours, where it can be one.
pub(super) fn of_wire(name: &WireName) -> Option<Name> {
    Name::presented(&presented(name)).ok()
}

#[cfg(test)]
#[path = "ask_tests.rs"]
mod tests;
