//! Askers that give up, writers that end, and several credentials for one zone.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::poll;
use landfall::dns::RecordType;
use landfall::ledger::ObjectKind;
use landfall::providers::Server;
use landfall::zones::{Account, Adoption, Effect, Found, Want, Whose, Wish};
use serde_json::json;

use crate::desk::{Desk, subject_in};
use crate::pdns::{Gate, counted, make_zone, powerdns, powerdns_at};
use crate::world::{env, turn};

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_is_not_written_and_who_looks_sees_what_was_wished_before() {
    let _turn = turn().await;
    let mut gate = Gate::new(&env("PDNS_URL")).await;
    let server = Server::PowerDns(powerdns_at(&gate.base, &env("PDNS_API_KEY")));
    let desk = Desk::new(server, "PDNS_ZONE").await;
    desk.clear("patience").await;
    let (first, wanted) = (desk.a("first.patience", "192.0.2.1"), desk.a("wanted.patience", "192.0.2.1"));
    let (queued, reading) = (desk.a("queued.patience", "192.0.2.1"), desk.a("reading.patience", "192.0.2.1"));

    // The server stalls beyond the patience of who wished first, and of one who came meanwhile.
    gate.close();
    let before = gate.count();
    let mut given_up = Box::pin(desk.set(&reading, Adoption::Never));
    assert!(poll!(&mut given_up).is_pending());
    gate.came(before).await;
    let mut also = Box::pin(desk.set(&queued, Adoption::Never));
    assert!(poll!(&mut also).is_pending());
    drop((given_up, also));
    // Others wait on; one looks after it has wished.
    let mut change = Box::pin(desk.set(&wanted, Adoption::Never));
    assert!(poll!(&mut change).is_pending());
    let mut look = Box::pin(desk.look(&wanted, Duration::ZERO));
    assert!(poll!(&mut look).is_pending());
    gate.open();
    let (look, effect) = tokio::join!(look, change);
    assert!(matches!(effect, Effect::Applied { .. }), "{effect:?}");
    assert_eq!((look.set, look.whose), (Some(wanted), Whose::Ours));
    assert!(matches!(desk.set(&first, Adoption::Never).await, Effect::Applied { .. }));
    for gone in [queued, reading] {
        assert_eq!(desk.standing(gone.owner(), RecordType::A).await, None);
    }
    assert_eq!(desk.intents().await.as_array().unwrap().len(), 2);
    desk.clear("patience").await;
}

/// Without a condition at the provider, only one writer for both keeps each from writing over the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_for_one_zone_lose_no_shared_value() {
    let _turn = turn().await;
    let desk = Desk::new(Server::PowerDns(powerdns()), "PDNS_ZONE").await;
    desk.clear("both").await;
    let second = subject_in("other", desk.ledger.cluster(), ObjectKind::CloudCredential, "dns");
    let second = Account::new(second, Server::PowerDns(powerdns()), "another".into());
    let owner = desk.at("_acme-challenge.both");
    let wish = |want| Wish {
        subject: desk.subject("web"),
        why: "a test".into(),
        owner: owner.clone(),
        kind: RecordType::Txt,
        want,
        by: None,
    };
    let by_second = async |want| desk.zones.change(&second, &desk.zone, wish(want)).await.unwrap();
    for round in 0..50 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let share = |value: &String| Want::Share { value: value.clone(), ttl: 60 };
        let (one, two) = tokio::join!(desk.share(&owner, &a), by_second(share(&b)));
        assert!(matches!((&one, &two), (Effect::Applied { .. }, Effect::Applied { .. })), "{one:?} {two:?}");
        let values = desk.standing(&owner, RecordType::Txt).await.unwrap();
        assert_eq!(values.values().len(), 2, "{round}: {values:?}");
        let (one, two) = tokio::join!(desk.unshare(&owner, &a), by_second(Want::Unshare { value: b }));
        assert!(matches!((&one, &two), (Effect::Applied { .. }, Effect::Applied { .. })), "{one:?} {two:?}");
        assert_eq!(desk.standing(&owner, RecordType::Txt).await, None, "{round}");
    }
    let by = "SELECT jsonb_object_agg(c, n) FROM (SELECT details->>'credential' AS c, count(*) AS n FROM intents GROUP BY 1) AS t";
    let by = desk.sql(by).await;
    for account in [&desk.account, &second] {
        assert_eq!(by[account.credential.uid.to_string()], 100, "each writes as itself: {by}");
    }
}

/// What it knows does not last, and its key neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_nobody_asks_ends_and_another_answers() {
    let _turn = turn().await;
    let (base, calls) = counted(&env("PDNS_URL")).await;
    let mut desk = Desk::new(Server::PowerDns(powerdns_at(&base, &env("PDNS_API_KEY"))), "PDNS_ZONE").await;
    let idle = Duration::from_millis(500);
    desk.ending(idle);
    let set = desk.a("www.idle", "192.0.2.1");
    let spent = async || {
        let before = calls.load(Ordering::SeqCst);
        desk.look(&set, Duration::from_secs(3600)).await;
        calls.load(Ordering::SeqCst) - before
    };
    assert!(spent().await > 0);
    let end = Instant::now() + Duration::from_secs(60);
    while spent().await == 0 {
        assert!(Instant::now() < end, "it lives on");
        // Each question keeps it.
        tokio::time::sleep(idle * 2).await;
    }
}

/// Who waits for a list of zones that fails is told with the one who asked for it, and so is who comes a moment later.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_is_asked_for_once() {
    let _turn = turn().await;
    let (base, calls) = counted(&env("PDNS_URL")).await;
    let desk = Desk::new(Server::PowerDns(powerdns()), "PDNS_ZONE").await;
    let second = subject_in("acme", desk.ledger.cluster(), ObjectKind::CloudCredential, "second");
    let account = Account::new(second.clone(), Server::PowerDns(powerdns_at(&base, "wrong")), "wrong".into());
    let ask = || desk.zones.zone_of(&account, &desk.zone.name, None);
    let answers = futures::future::join_all((0..20).map(|_| ask())).await;
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    ask().await.unwrap_err();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // What was mended is asked at once.
    let account = Account::new(second, Server::PowerDns(powerdns_at(&base, &env("PDNS_API_KEY"))), "right".into());
    desk.zones.zone_of(&account, &desk.zone.name, None).await.unwrap();
}

/// A zone is nearer to a name than the one above it, from the moment on that it is known to be there.
#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_is_new_is_found_when_the_zones_are_listed_anew() {
    let _turn = turn().await;
    let desk = Desk::new(Server::PowerDns(powerdns()), "PDNS_ZONE").await;
    let part = desk.at(&format!("z{}", uuid::Uuid::new_v4().simple()));
    make_zone(json!({"name": part.absolute(), "kind": "Native", "nameservers": []})).await;
    let found = async || match desk.zones.zone_of(&desk.account, &part, None).await.unwrap() {
        Found::One(zone) => zone.name,
        other => panic!("{other:?}"),
    };
    assert_eq!(found().await, desk.zone.name, "as it was listed before");
    desk.zones.relist(desk.account.credential.uid);
    assert_eq!(found().await, part);
}
