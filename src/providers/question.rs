//! One question to one DNS server: over UDP, and over TCP where the answer is cut.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Record as WireRecord, RecordType as WireType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::dns::wire::{data, presented, wire_name, wire_type};
use crate::dns::{Data, Name, RecordType};

/// Octets of an answer over UDP that arrive anywhere unbroken.
const PAYLOAD: u16 = 1232;
/// After this the question is sent again.
const TRY: Duration = Duration::from_secs(1);

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Whose it is.
    pub owner: Name,
    /// Its value.
    pub data: Data,
    /// Seconds.
    pub ttl: u32,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Whether the server has the zone itself.
    pub authoritative: bool,
    /// `false` for NXDOMAIN.
    pub exists: bool,
    /// The records of types that are ours.
    pub answers: Vec<Answered>,
    /// The zone that says no, where one does.
    pub zone: Option<Name>,
}

/// Asks; `recursive` of a resolver. Answers until the deadline, or says in words why there is no answer: nobody answered, or
/// with a code that is neither NOERROR nor NXDOMAIN.
///
/// # Errors
/// The words.
pub async fn ask(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    recursive: bool,
    deadline: Instant,
) -> Result<Reply, String> {
    let message = question(name, kind, recursive)?;
    let mut why = "no answer in time".to_owned();
    while Instant::now() < deadline {
        let began = Instant::now();
        match timeout_at((began + TRY).min(deadline), over_udp(server, &message)).await {
            Ok(Ok(answer)) if answer.truncation => {
                let whole = timeout_at(deadline, over_tcp(server, &message)).await;
                return read(&whole.map_err(|_| "no answer over TCP in time")?.map_err(|e| format!("over TCP: {e}"))?);
            }
            Ok(Ok(answer)) => return read(&answer),
            // Nobody listens there, or there is no way there: the same again would be the same.
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => "no answer in time".clone_into(&mut why),
        }
    }
    Err(why)
}

fn question(name: &Name, kind: RecordType, recursive: bool) -> Result<Message, String> {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.add_query(Query::query(wire_name(name)?, wire_type(kind)));
    message.metadata.recursion_desired = recursive;
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    message.edns = Some(edns);
    Ok(message)
}

async fn over_udp(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // From here on the system drops what comes from elsewhere.
    socket.connect(server).await?;
    socket.send(&question.to_vec().map_err(io::Error::other)?).await?;
    let mut bytes = vec![0; 4096];
    loop {
        let length = socket.recv(&mut bytes).await?;
        let answer = bytes.get(..length).and_then(|bytes| Message::from_vec(bytes).ok());
        if let Some(answer) = answer.filter(|answer| is_to(answer, question)) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    let answer = Message::from_vec(&bytes).map_err(|_| io::Error::other("the answer is no DNS message"))?;
    let whole = is_to(&answer, question) && !answer.truncation;
    whole.then_some(answer).ok_or_else(|| io::Error::other("the answer is cut, or to another question"))
}

fn is_to(answer: &Message, question: &Message) -> bool {
    let asked = |m: &Message| m.queries.first().map(|q| (q.name.to_lowercase(), q.query_type));
    answer.id == question.id && answer.message_type == MessageType::Response && asked(answer) == asked(question)
}

fn read(answer: &Message) -> Result<Reply, String> {
    let exists = match answer.response_code {
        ResponseCode::NoError => true,
        ResponseCode::NXDomain => false,
        ResponseCode::ServFail => return Err("SERVFAIL".into()),
        ResponseCode::Refused => return Err("REFUSED".into()),
        other => return Err(format!("the server answered {other}")),
    };
    let owner = |record: &WireRecord| Name::presented(&presented(&record.name)).ok();
    let ours = |record: &WireRecord| {
        let data = data(&record.data)?.ok()?;
        Some(Answered { owner: owner(record)?, data, ttl: record.ttl })
    };
    Ok(Reply {
        authoritative: answer.authoritative,
        exists,
        answers: answer.answers.iter().filter_map(ours).collect(),
        zone: answer.authorities.iter().find(|r| r.record_type() == WireType::SOA).and_then(owner),
    })
}
