#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;

fn seen(status: u16, retry_after: Option<u64>) -> Seen {
    Seen { status: Some(status), retry_after: retry_after.map(Duration::from_secs), ..Seen::default() }
}

fn problem(word: &str, status: u16) -> Problem {
    serde_json::from_value(json!({"type": word, "detail": "because", "status": status})).unwrap()
}

#[test]
fn each_problem_has_its_cause_and_its_pace() {
    for (word, status, cause, pace) in [
        ("dns", 400, Cause::DnsNotReady, Pace::Soon),
        ("connection", 400, Cause::DnsNotReady, Pace::Soon),
        ("rateLimited", 429, Cause::RateLimited, Pace::Soon),
        ("unauthorized", 403, Cause::Unauthorized, Pace::Late),
        ("incorrectResponse", 403, Cause::Unauthorized, Pace::Late),
        ("caa", 403, Cause::Caa, Pace::Late),
        ("rejectedIdentifier", 400, Cause::RejectedIdentifier, Pace::Late),
        ("unsupportedIdentifier", 400, Cause::RejectedIdentifier, Pace::Late),
        ("alreadyReplaced", 409, Cause::AlreadyReplaced, Pace::Soon),
        ("alreadyRevoked", 400, Cause::AlreadyRevoked, Pace::Soon),
        ("accountDoesNotExist", 400, Cause::AccountGone, Pace::Soon),
        ("externalAccountRequired", 403, Cause::ExternalAccount, Pace::Late),
        ("userActionRequired", 403, Cause::ActionRequired, Pace::Late),
        ("orderNotReady", 403, Cause::OrderNotReady, Pace::Soon),
        ("badNonce", 400, Cause::Server, Pace::Soon),
        ("serverInternal", 500, Cause::Server, Pace::Soon),
        ("badCSR", 400, Cause::Malformed, Pace::Late),
        ("malformed", 400, Cause::Malformed, Pace::Late),
        ("malformed", 404, Cause::NotFound, Pace::Soon),
        ("somethingNew", 429, Cause::RateLimited, Pace::Soon),
        ("somethingNew", 503, Cause::Server, Pace::Soon),
    ] {
        let trouble =
            Trouble::of_problem(&problem(&format!("urn:ietf:params:acme:error:{word}"), status), &seen(status, None));
        assert_eq!((trouble.cause, trouble.cause.pace()), (cause, pace), "{word} {status}");
        assert_eq!(trouble.may_have_landed, status >= 500, "{word} {status}");
    }
}

#[test]
fn a_problem_of_several_names_tells_of_each_and_takes_the_first_ones_cause() {
    let problem: Problem = serde_json::from_value(json!({
        "type": "urn:ietf:params:acme:error:malformed", "detail": "some were rejected",
        "subproblems": [
            {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "not this\u{1b}[2J", "identifier": {"type": "dns", "value": "a.test"}},
            {"type": "urn:ietf:params:acme:error:caa", "detail": "nor that", "identifier": {"type": "dns", "value": "b.test"}},
        ],
    }))
    .unwrap();
    let trouble = Trouble::of_problem(&problem, &seen(400, None));
    assert_eq!(trouble.cause, Cause::RejectedIdentifier);
    for part in ["some were rejected", "a.test: not this", "b.test: nor that (caa)"] {
        assert!(trouble.message.contains(part), "{}", trouble.message);
    }
    assert!(!trouble.message.contains('\u{1b}'), "{}", trouble.message);
}

#[test]
fn what_is_no_document_is_told_by_its_status() {
    for (status, cause, landed) in [
        (200, Cause::Server, true),
        (404, Cause::NotFound, false),
        (415, Cause::Malformed, false),
        (429, Cause::RateLimited, false),
        (502, Cause::Server, true),
    ] {
        let trouble = Trouble::of_wire("expected value", &seen(status, Some(7)));
        assert_eq!((trouble.cause, trouble.may_have_landed), (cause, landed), "{status}");
        assert_eq!(trouble.retry_after, Some(Duration::from_secs(7)), "{status}");
    }
}

#[test]
fn pauses_double_up_to_their_limit_and_are_never_shorter_than_the_ca_asks_for() {
    let pauses = |cause| [0, 1, 2, 3, 6, 7, 40, 400].map(|failures| Trouble::new(cause, "").pause(failures).as_secs());
    assert_eq!(pauses(Cause::Server), [10, 10, 20, 40, 300, 300, 300, 300]);
    assert_eq!(pauses(Cause::Caa), [900, 900, 1800, 3600, 28800, 57600, 86400, 86400]);
    let asked = Trouble { retry_after: Some(Duration::from_secs(5000)), ..Trouble::new(Cause::RateLimited, "") };
    assert_eq!(asked.pause(1).as_secs(), 5000);
}

#[test]
fn a_cause_is_found_by_its_word() {
    for cause in Cause::ALL {
        assert_eq!(Cause::parse(cause.as_str()), Some(cause));
    }
    assert_eq!(Cause::parse("Unheard"), None);
}
