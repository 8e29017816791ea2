//! Signed messages over TCP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_proto::rr::{Record, RecordType, TSigVerifier, TSigner};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::{Algorithm, refused, told};
use crate::access::SecretText;
use crate::api::Reason;
use crate::dns::Name;
use crate::dns::wire::wire_name;
use crate::providers::dns::Trouble;
use crate::{Error, Result};

/// Seconds by which two clocks may differ.
const FUDGE: u16 = 300;
/// Octets of a whole transfer; a zone of 100,000 records is smaller.
const TRANSFER_LIMIT: usize = 32 * 1024 * 1024;

/// A server and the key that it knows.
pub(super) struct Wire {
    pub(super) server: SocketAddr,
    signer: TSigner,
    pub(super) timeout: Duration,
}

impl Wire {
    pub(super) fn new(
        server: SocketAddr,
        key_name: &str,
        algorithm: Algorithm,
        secret: &SecretText,
        timeout: Duration,
    ) -> Result<Self> {
        let invalid = |what: &str| Error::condition(Reason::InvalidCredentials, format!("TSIG {what}"));
        let name = Name::presented(key_name).ok().filter(|name| !name.is_root());
        let name = name.and_then(|name| wire_name(&name).ok()).ok_or_else(|| invalid("key has no such name"))?;
        let secret = STANDARD.decode(secret.expose().trim()).map(Zeroizing::new);
        let secret = secret.map_err(|_| invalid("secret is not base64; take it from the server's key file"))?;
        if secret.is_empty() {
            return Err(invalid("secret is empty"));
        }
        let algorithm = match algorithm {
            Algorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            Algorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        };
        let signer = TSigner::new(secret.to_vec(), algorithm, name, FUDGE).map_err(|_| invalid("key is not usable"))?;
        Ok(Self { server, signer, timeout })
    }

    /// Asks one question.
    pub(super) async fn ask(&self, zone: &Name, kind: RecordType) -> Result<Message, Trouble> {
        self.exchange(question(zone, kind)?).await
    }

    /// Sends one message and answers what came back: verified, or with a code of who refuses a question.
    pub(super) async fn exchange(&self, message: Message) -> Result<Message, Trouble> {
        let writes = message.op_code == OpCode::Update;
        self.within(async {
            let heard = async { Line::open(self, message).await?.receive().await };
            heard.await.map_err(|t: Unheard| if writes && !t.settled { t.trouble.open() } else { t.trouble })
        })
        .await
        .unwrap_or_else(|late| Err(if writes { late.open() } else { late }))
    }

    /// Whether the server begins a transfer of the zone; what it goes on to send is not read.
    pub(super) async fn begins_transfer(&self, zone: &Name) -> Result<(), Trouble> {
        let begin = async {
            let mut line = Line::open(self, question(zone, RecordType::AXFR)?).await.map_err(|t| t.trouble)?;
            let message = line.receive().await.map_err(|t| t.trouble)?;
            refused(&message, zone)?;
            match message.answers.first().map(Record::record_type) {
                Some(RecordType::SOA) => Ok(()),
                _ => Err(broken("the transfer begins without a SOA")),
            }
        };
        self.within(begin).await.unwrap_or_else(Err)
    }

    /// All records of a zone.
    pub(super) async fn transfer(&self, zone: &Name) -> Result<Vec<Record>, Trouble> {
        let read = async {
            let mut line = Line::open(self, question(zone, RecordType::AXFR)?).await.map_err(|t| t.trouble)?;
            let (mut records, mut octets) = (Vec::new(), 0);
            loop {
                let message = line.receive().await.map_err(|t| t.trouble)?;
                refused(&message, zone)?;
                octets += line.octets;
                records.extend(message.answers);
                match (records.first().map(Record::record_type), records.last().map(Record::record_type)) {
                    (Some(RecordType::SOA), Some(RecordType::SOA)) if records.len() > 1 => return Ok(records),
                    (Some(RecordType::SOA), _) if octets <= TRANSFER_LIMIT => {}
                    _ => return Err(broken("the transfer begins without a SOA, or has no end")),
                }
            }
        };
        self.within(read).await.unwrap_or_else(Err)
    }

    async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, Trouble> {
        tokio::time::timeout(self.timeout, work).await.map_err(|_| {
            Trouble::new(Reason::Timeout, format!("{} gave no whole answer within {:?}", self.server, self.timeout))
        })
    }
}

/// A connection on which one message was sent.
struct Line {
    stream: TcpStream,
    id: u16,
    op_code: OpCode,
    verifier: TSigVerifier,
    /// Of the last message.
    octets: usize,
}

/// Why no answer was received.
struct Unheard {
    trouble: Trouble,
    /// The server did nothing, for sure.
    settled: bool,
}

impl From<Trouble> for Unheard {
    fn from(trouble: Trouble) -> Self {
        Self { trouble, settled: false }
    }
}

impl Line {
    async fn open(wire: &Wire, mut message: Message) -> Result<Self, Unheard> {
        let (id, op_code) = (message.id, message.op_code);
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        let verifier = message.finalize(&wire.signer, now).ok().flatten();
        let unsent = |what: &str| Unheard { trouble: broken(what), settled: true };
        let verifier = verifier.ok_or_else(|| unsent("the message cannot be signed"))?;
        let bytes = message.to_vec().map_err(|_| unsent("the message is too large for DNS"))?;
        let length = u16::try_from(bytes.len()).map_err(|_| unsent("the message is too large for DNS"))?;
        let stream = TcpStream::connect(wire.server).await;
        let mut stream = stream.map_err(|e| unsent(&format!("no connection to {} ({e})", wire.server)))?;
        let framed = [&length.to_be_bytes()[..], &bytes].concat();
        stream.write_all(&framed).await.map_err(|e| broken(&format!("the connection broke ({e})")))?;
        Ok(Self { stream, id, op_code, verifier, octets: 0 })
    }

    /// The next message of the answer.
    async fn receive(&mut self) -> Result<Message, Unheard> {
        let bytes = self.read().await.map_err(|e| broken(&format!("the connection broke ({e})")))?;
        self.octets = bytes.len();
        let message = Message::from_vec(&bytes).map_err(|_| broken("the answer is no DNS message"))?;
        let is_ours =
            message.id == self.id && message.op_code == self.op_code && message.message_type == MessageType::Response;
        if !is_ours || message.truncation {
            return Err(broken("the answer is cut, or to another question").into());
        }
        if let Some(trouble) = unsigned(&message) {
            return Err(trouble.into());
        }
        // A refusal may come unsigned, from who does not know the key or does not listen to this address, or from somebody
        // on the way: it says nothing of what became of an update.
        if message.response_code != ResponseCode::NoError && message.signature.is_none() {
            return match self.op_code {
                OpCode::Update => Err(Unheard::from(believed(&message))),
                _ => Ok(message),
            };
        }
        match self.verifier.verify(&bytes) {
            Ok(_) => Ok(message),
            Err(_) => Err(broken("the answer's signature is missing or wrong").into()),
        }
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let length = self.stream.read_u16().await?;
        let mut bytes = vec![0; usize::from(length)];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }
}

/// A refusal of an update that nobody signed.
fn believed(message: &Message) -> Trouble {
    let reason = match message.response_code {
        ResponseCode::Refused | ResponseCode::NotAuth => Reason::InsufficientPermissions,
        _ => Reason::ProviderUnavailable,
    };
    Trouble::new(reason, format!("{}, and has not signed it", told(message.response_code)))
}

/// What the server found wrong with our signature.
fn unsigned(message: &Message) -> Option<Trouble> {
    let tsig = &message.signature.as_ref()?.data;
    let (reason, what) = match tsig.error? {
        TsigError::BadSig => (Reason::InvalidCredentials, "BADSIG: the secret is not the key's".to_owned()),
        TsigError::BadKey => (Reason::InvalidCredentials, "BADKEY: it knows no such key, or not for this".to_owned()),
        TsigError::BadTime => (Reason::ClockSkew, format!("BADTIME: its clock differs by more than {FUDGE} s")),
        other => (Reason::ProviderUnavailable, format!("TSIG error {}", u16::from(other))),
    };
    Some(Trouble::new(reason, format!("the server answered {what}")))
}

fn question(zone: &Name, kind: RecordType) -> Result<Message, Trouble> {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    let name = wire_name(zone).map_err(|e| broken(&e))?;
    message.add_query(Query::query(name, kind));
    Ok(message)
}

fn broken(what: &str) -> Trouble {
    Trouble::new(Reason::ProviderUnavailable, what)
}
