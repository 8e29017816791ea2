#![allow(clippy::unwrap_used)]
use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::{A, CNAME, NS, TXT};

use super::*;

fn name(text: &str) -> Name {
    Name::presented(text).unwrap()
}

fn message(code: ResponseCode, authoritative: bool, answers: &[(&str, RData)]) -> Message {
    let mut message = Message::response(1, OpCode::Query);
    message.metadata.response_code = code;
    message.metadata.authoritative = authoritative;
    let record = |(owner, data): &(&str, RData)| Record::from_rdata(wire_name(&name(owner)).unwrap(), 60, data.clone());
    message.answers = answers.iter().map(record).collect();
    message
}

fn txt(value: &str) -> RData {
    RData::TXT(TXT::new(vec![value.into()]))
}

#[test]
fn an_answer_is_what_its_own_authority_says_of_this_name() {
    let (www, alias) = ("www.example.com", RData::CNAME(CNAME(wire_name(&name("b.example")).unwrap())));
    let told = |message: &Message| said(message, &name(www), RecordType::Txt);
    let values =
        |values: &[&str]| Said::Values { values: values.iter().map(|v| Data::Txt((*v).into())).collect(), ttl: 60 };
    let ok = ResponseCode::NoError;
    assert_eq!(told(&message(ok, true, &[("WWW.Example.com", txt("b")), (www, txt("a"))])), values(&["a", "b"]));
    assert_eq!(told(&message(ok, true, &[("b.example.com", txt("b"))])), Said::NoData, "it is of another name");
    assert_eq!(told(&message(ok, true, &[(www, RData::A(A([192, 0, 2, 1].into())))])), Said::NoData);
    assert_eq!(told(&message(ok, true, &[])), Said::NoData);
    assert_eq!(told(&message(ResponseCode::NXDomain, true, &[])), Said::NoName);
    let aliased = Said::Values { values: vec![Data::Cname(name("b.example"))], ttl: 60 };
    assert_eq!(told(&message(ok, true, &[(www, alias.clone()), ("b.example", txt("x"))])), aliased);
    assert_eq!(told(&message(ResponseCode::NXDomain, true, &[(www, alias)])), aliased, "what it leads to is missing");
    for (code, word) in [
        (ok, "no authority"),
        (ResponseCode::NXDomain, "no authority"),
        (ResponseCode::ServFail, "SERVFAIL"),
        (ResponseCode::Refused, "REFUSED"),
    ] {
        let heard = told(&message(code, false, &[(www, txt("cached"))]));
        assert!(matches!(&heard, Said::Nothing(why) if why.contains(word)), "{heard:?}");
    }
}

#[test]
fn a_delegation_is_what_the_zone_above_sends_on_to() {
    let (part, ns) = ("part.example.com", |host: &str| RData::NS(NS(wire_name(&name(host)).unwrap())));
    let told = |authoritative: bool, code: ResponseCode, answers: &[(&str, RData)], authorities: &[(&str, RData)]| {
        let mut heard = message(code, authoritative, answers);
        heard.authorities = message(code, authoritative, authorities).answers;
        sent_on(&heard, &name(part))
    };
    let values = |hosts: &[&str]| Said::Values { values: hosts.iter().map(|h| Data::Ns(name(h))).collect(), ttl: 60 };
    let (ok, to) =
        (ResponseCode::NoError, [("part.example.com", ns("b.example")), ("PART.example.com", ns("a.example"))]);
    assert_eq!(told(false, ok, &[], &to), values(&["a.example", "b.example"]));
    assert_eq!(told(true, ok, &[(part, ns("c.example"))], &to), values(&["c.example"]), "it has the part below too");
    let above = [("example.com", ns("a.example"))];
    assert!(matches!(told(false, ok, &[], &above), Said::Nothing(_)), "another name's");
    assert_eq!(told(true, ok, &[], &above), Said::NoData);
    assert_eq!(told(true, ResponseCode::NXDomain, &[], &[]), Said::NoName);
    assert!(matches!(told(false, ResponseCode::Refused, &[], &to), Said::Nothing(_)));
}

#[test]
fn an_answer_to_another_question_is_none() {
    let asked = question(&name("www.example.com"), WireType::TXT, false).unwrap();
    let heard = |change: fn(&mut Message)| {
        let mut message = asked.clone().into_response();
        message.metadata.message_type = MessageType::Response;
        change(&mut message);
        answer(&asked, &message.to_vec().unwrap()).is_some()
    };
    assert!(heard(|_| {}));
    assert!(!heard(|m| m.metadata.id = m.id.wrapping_add(1)));
    assert!(!heard(|m| m.metadata.message_type = MessageType::Query));
    assert!(!heard(|m| m.queries.clear()), "without its question");
    assert!(heard(|m| {
        m.queries.clear();
        m.metadata.response_code = ResponseCode::Refused;
    }));
    assert!(!heard(|m| m.queries = vec![Query::query(m.queries.remove(0).name().clone(), WireType::A)]));
    assert!(answer(&asked, b"garbage").is_none());
    assert_eq!((asked.recursion_desired, asked.max_payload()), (false, 1232));
}
