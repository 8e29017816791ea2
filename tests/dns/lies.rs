//! Answers of a server of RFC 2136 that no test bed gives: refusals, other clocks, cut and unsigned answers, silence.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::tsig::{TSIG, TsigAlgorithm, TsigError, make_tsig_record};
use landfall::access::SecretText;
use landfall::api::Reason;
use landfall::dns::{RecordType, Zone};
use landfall::providers::{Algorithm, Dns, Outcome, Rfc2136, Trouble};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::{change, name, set};

/// What the server does with each message.
#[derive(Clone, Copy, Debug)]
enum Lie {
    Code(ResponseCode),
    Tsig(TsigError),
    Truncated,
    OtherId,
    Garbage,
    HangUp,
    Silence,
}

fn answer(lie: Lie, question: &Message) -> Option<Vec<u8>> {
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.message_type = MessageType::Response;
    match lie {
        Lie::Code(code) => message.metadata.response_code = code,
        Lie::Tsig(error) => {
            message.metadata.response_code = ResponseCode::NotAuth;
            let tsig = TSIG::new(TsigAlgorithm::HmacSha256, 0, 300, vec![], message.metadata.id, Some(error), vec![]);
            message.set_signature(Box::new(make_tsig_record(question.signature().unwrap().name.clone(), tsig)));
        }
        Lie::Truncated => message.metadata.truncation = true,
        Lie::OtherId => message.metadata.id = message.metadata.id.wrapping_add(1),
        Lie::Garbage => return Some(vec![0xff; 40]),
        Lie::HangUp | Lie::Silence => return None,
    }
    Some(message.to_vec().unwrap())
}

async fn liar(lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut bytes).await.unwrap();
            match answer(lie, &Message::from_vec(&bytes).unwrap()) {
                Some(bytes) => {
                    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
                    stream.write_all(&bytes).await.unwrap();
                }
                None if matches!(lie, Lie::HangUp) => drop(stream),
                None => {
                    tokio::spawn(async move { stream.read_u8().await });
                }
            }
        }
    });
    address
}

fn client(server: SocketAddr) -> Rfc2136 {
    let secret = SecretText::new("Y2FuYXJ5LXNlY3JldA==");
    let dns = Rfc2136::new(server, "key", Algorithm::HmacSha256, &secret, vec![name("example.test")]).unwrap();
    dns.with_timeout(Duration::from_secs(2))
}

async fn outcome(dns: &Rfc2136, zone: &Zone) -> Outcome {
    let wanted = set("www.example.test", RecordType::A, &["192.0.2.1"]);
    dns.apply(zone, &[change(None, Some(wanted))]).await.remove(0)
}

fn check(told: &Trouble, reason: Reason, word: &str) {
    assert_eq!(told.reason, reason, "{told:?}");
    assert!(told.message.contains(word) && !told.message.contains("Y2FuYXJ5"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_is_taken_for_what_it_is() {
    use Reason::{ClockSkew, InsufficientPermissions, InvalidCredentials, ProviderUnavailable, Timeout};
    let zone = Zone { id: "example.test".into(), name: name("example.test") };
    // Nobody has signed any of it: what became of an update is not known.
    for (lie, reason, word) in [
        (Lie::Tsig(TsigError::BadSig), InvalidCredentials, "BADSIG"),
        (Lie::Tsig(TsigError::BadKey), InvalidCredentials, "BADKEY"),
        (Lie::Tsig(TsigError::BadTime), ClockSkew, "BADTIME"),
        (Lie::Tsig(TsigError::BadTrunc), ProviderUnavailable, "22"),
        (Lie::Code(ResponseCode::NotImp), ProviderUnavailable, "NOTIMP"),
        (Lie::Code(ResponseCode::Refused), InsufficientPermissions, "REFUSED"),
        (Lie::Code(ResponseCode::FormErr), ProviderUnavailable, "FORMERR"),
        (Lie::Code(ResponseCode::ServFail), ProviderUnavailable, "SERVFAIL"),
        (Lie::Code(ResponseCode::NotZone), ProviderUnavailable, "NOTZONE"),
        (Lie::Code(ResponseCode::NXRRSet), ProviderUnavailable, "NXRRSET"),
        (Lie::Code(ResponseCode::NoError), ProviderUnavailable, "signature"),
        (Lie::Truncated, ProviderUnavailable, "cut"),
        (Lie::OtherId, ProviderUnavailable, "another question"),
        (Lie::Garbage, ProviderUnavailable, "no DNS message"),
        (Lie::HangUp, ProviderUnavailable, "broke"),
        (Lie::Silence, Timeout, "within"),
    ] {
        let dns = client(liar(lie).await);
        let told = outcome(&dns, &zone).await;
        let Outcome::Unsettled(told) = told else { panic!("{lie:?}: {told:?}") };
        check(&told, reason, word);
        assert!(told.may_have_landed, "{lie:?}");
        for told in [dns.read(&zone, None).await.unwrap_err(), dns.serial(&zone).await.unwrap_err()] {
            check(&told, reason, word);
            assert!(!told.may_have_landed, "reading changes nothing: {lie:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_made_no_change() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let zone = Zone { id: "example.test".into(), name: name("example.test") };
    let Outcome::Unsettled(told) = outcome(&client(closed), &zone).await else { panic!("settled") };
    check(&told, Reason::ProviderUnavailable, "no connection");
    assert!(!told.may_have_landed);
}
