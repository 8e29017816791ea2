//! One writer for each zone, on real servers and a real ledger: what is ours, what is another's, and what is on record.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use landfall::api::Reason;
use landfall::dns::{RecordSet, RecordType};
use landfall::ledger::{NewIntent, Subject};
use landfall::providers::{Dns, Server};
use landfall::zones::{Adoption, By, Effect, Want, Whose, Wish};
use serde_json::json;

use crate::database::Database;
use crate::desk::{Desk, servers};
use crate::pdns::{counted, lossy, powerdns_at};
use crate::wire::Wire;
use crate::world::{env, set, turn};

const NOW: Duration = Duration::ZERO;
const LONG_AGO: Duration = Duration::from_secs(3600);

fn is_applied(effect: &Effect) -> bool {
    matches!(effect, Effect::Applied { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_is_written_once_and_each_write_is_on_record_before_it_is_made() {
    let _turn = turn().await;
    for (server, zone) in servers() {
        let desk = Desk::new(server, zone).await;
        desk.clear("once").await;
        let (first, second) = (desk.a("www.once", "192.0.2.1"), desk.a("www.once", "192.0.2.2"));
        let effect = desk.set(&first, Adoption::Never).await;
        assert_eq!(effect, Effect::Applied { before: None, after: Some(first.clone()) });
        assert_eq!(desk.standing(first.owner(), RecordType::A).await, Some(first.clone()));
        let look = desk.look(&first, NOW).await;
        assert_eq!((look.set, look.whose, look.beside), (Some(first.clone()), Whose::Ours, vec![]));

        let serial = desk.serial().await;
        assert_eq!(desk.set(&first, Adoption::Never).await, Effect::Unchanged);
        assert_eq!(desk.serial().await, serial, "a second pass writes nothing");
        let effect = desk.set(&second, Adoption::Never).await;
        assert_eq!(effect, Effect::Applied { before: Some(first.clone()), after: Some(second.clone()) });
        assert_eq!(desk.gone(&second).await, Effect::Applied { before: Some(second.clone()), after: None });
        assert_eq!(desk.gone(&second).await, Effect::Unchanged);
        let read = desk.account.server.read(&desk.zone, None).await.unwrap();
        let left: Vec<_> = read.sets.iter().filter(|s| s.set.owner().to_string().contains("once")).collect();
        assert!(left.is_empty(), "the registry's entry goes too: {left:?}");

        let call = desk.account.server.call();
        assert_eq!(desk.intents().await, json!([[call, "Done", 1], [call, "Done", 1], [call, "Done", 1]]));
        let events = desk
            .sql("SELECT jsonb_agg(jsonb_build_array(action, details #> '{part,after,values}', details #> '{part,outcome}') ORDER BY seq)
                  FROM activity_log WHERE object_kind = 'DnsRecord' AND object_name = 'web'")
            .await;
        let made = |values: serde_json::Value| json!(["intent.made", values, null]);
        let done = json!(["intent.concluded", null, "Applied"]);
        let (one, two) = (made(json!(["192.0.2.1"])), made(json!(["192.0.2.2"])));
        assert_eq!(events, json!([one, done, two, done, made(json!(null)), done]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_stays_whatever_is_wished() {
    let _turn = turn().await;
    for ((server, zone), (other, _)) in servers().into_iter().zip(servers()) {
        let desk = Desk::new(server, zone).await;
        let other = Desk::new(other, zone).await;
        let top = desk.at("foreign").to_string();
        desk.clear("foreign").await;
        let (stood, theirs) = (desk.a("stood.foreign", "192.0.2.1"), desk.a("theirs.foreign", "192.0.2.1"));
        let entry = set(&format!("a-known.{top}"), RecordType::Txt, &["heritage=external-dns,external-dns/owner=shop"]);
        let noise = set(&format!("www.{top}"), RecordType::Txt, &["heritage=landfall,cluster=me"]);
        for set in [&stood, &entry, &noise] {
            desk.foreign(set).await;
        }
        assert!(is_applied(&other.set(&theirs, Adoption::Never).await));

        let serial = desk.serial().await;
        let wanted = |left: &str| desk.a(left, "192.0.2.9");
        for (set, adoption, word) in [
            (wanted("stood.foreign"), Adoption::Never, "nobody"),
            (stood.clone(), Adoption::Never, "nobody"),
            (wanted("stood.foreign"), Adoption::IfIdentical, "nobody"),
            (wanted("theirs.foreign"), Adoption::Always, "another"),
            (theirs.clone(), Adoption::Always, "another"),
            (wanted("known.foreign"), Adoption::Always, "external-dns"),
        ] {
            let effect = desk.set(&set, adoption).await;
            assert!(matches!(&effect, Effect::NotOwned(who) if who.contains(word)), "{set:?} {adoption:?}: {effect:?}");
        }
        for set in [&stood, &theirs] {
            assert!(matches!(desk.gone(set).await, Effect::NotOwned(_)));
        }
        assert_eq!(desk.serial().await, serial, "nothing was written");
        assert_eq!(desk.intents().await, json!([]));
        assert_eq!(desk.look(&stood, NOW).await.whose, Whose::Nobody);
        assert!(matches!(desk.look(&theirs, NOW).await.whose, Whose::Another(_)));

        // A text beside it gives nobody the right, and takes nobody's; what is adopted is ours from then on.
        let www = wanted("www.foreign");
        assert!(is_applied(&desk.set(&www, Adoption::Never).await));
        assert_eq!(desk.look(&www, NOW).await.beside, ["TXT"]);
        assert!(is_applied(&desk.set(&stood, Adoption::IfIdentical).await));
        assert_eq!(desk.look(&stood, NOW).await.whose, Whose::Ours);
        assert_eq!(desk.set(&stood, Adoption::Never).await, Effect::Unchanged);
        assert!(is_applied(&desk.set(&wanted("stood.foreign"), Adoption::Never).await));
        desk.clear("foreign").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_several_need_at_one_name_come_and_go_by_themselves() {
    let _turn = turn().await;
    for ((server, zone), (other, _)) in servers().into_iter().zip(servers()) {
        let (desk, other) = (Desk::new(server, zone).await, Desk::new(other, zone).await);
        let owner = desk.at("_acme-challenge.shared");
        desk.clear("_acme-challenge.shared").await;
        let foreign = set(owner.as_str(), RecordType::Txt, &["foreign"]);
        desk.foreign(&foreign).await;
        // Two installations at once, several values each.
        let values = |who: &str| (0..5).map(|n| format!("{who} {n}")).collect::<Vec<_>>();
        let (ours, theirs) = (values("ours"), values("theirs"));
        for shares in [true, false] {
            let wish = async |desk: &Desk, values: &[String]| {
                let each = values.iter().map(async |value| match shares {
                    true => desk.share(&owner, value).await,
                    false => desk.unshare(&owner, value).await,
                });
                join_all(each).await
            };
            // PowerDNS has no condition for what is written at the very same moment, and where its database is locked by
            // the other's write it answers 500: whoever needs a value asks again.
            let marks = desk.account.server.marks();
            let is_good = |effect: &Effect| match effect {
                Effect::Trouble(trouble) => marks && trouble.reason == Reason::ProviderUnavailable,
                effect => is_applied(effect) || *effect == Effect::Unchanged,
            };
            let mut rounds = 0;
            loop {
                let (one, two) = tokio::join!(wish(&desk, &ours), wish(&other, &theirs));
                let all: Vec<_> = one.into_iter().chain(two).collect();
                assert!(all.iter().all(is_good), "{all:?}");
                rounds += 1;
                if all.iter().all(|effect| *effect == Effect::Unchanged) {
                    break;
                }
                let most = if marks { 12 } else { 2 };
                assert!(rounds < most, "{zone}: {all:?}");
            }
            let stand = desk.standing(&owner, RecordType::Txt).await.unwrap();
            assert_eq!(stand.values().len(), if shares { 11 } else { 1 }, "{stand:?}");
            assert_eq!(desk.share(&owner, "foreign").await, Effect::Unchanged);
        }
        assert_eq!(desk.standing(&owner, RecordType::Txt).await, Some(foreign));
        assert!(is_applied(&desk.unshare(&owner, "foreign").await));
        assert_eq!(desk.standing(&owner, RecordType::Txt).await, None, "the set goes with its last value");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_wishes_at_once_are_few_calls_and_one_intent_and_one_bad_one_is_told_alone() {
    let _turn = turn().await;
    let (base, calls) = counted(&env("PDNS_URL")).await;
    let desk = Desk::new(Server::PowerDns(powerdns_at(&base, &env("PDNS_API_KEY"))), "PDNS_ZONE").await;
    let top = desk.at("many").to_string();
    desk.clear("many").await;
    let sets: Vec<_> = (0..200).map(|n| desk.a(&format!("n{n}.many"), "192.0.2.1")).collect();
    let before = calls.load(Ordering::SeqCst);
    let effects = join_all(sets.iter().map(|set| desk.set(set, Adoption::Never))).await;
    assert!(effects.iter().all(is_applied), "{effects:?}");
    let spent = calls.load(Ordering::SeqCst) - before;
    assert!(spent <= 10, "{spent} calls");
    let intents = desk.intents().await;
    assert!(intents.as_array().unwrap().len() <= 3, "{intents}");

    let before = calls.load(Ordering::SeqCst);
    let looks = join_all(sets.iter().map(|set| desk.look(set, LONG_AGO))).await;
    assert!(looks.iter().all(|look| look.whose == Whose::Ours));
    assert_eq!(calls.load(Ordering::SeqCst), before, "what was written is known");
    join_all(sets.iter().map(|set| desk.look(set, NOW))).await;
    let spent = calls.load(Ordering::SeqCst) - before;
    assert!(spent <= 3, "the serial tells that nothing moved: {spent} calls");
    let effects = join_all(sets.iter().map(|set| desk.set(set, Adoption::Never))).await;
    assert!(effects.iter().all(|effect| *effect == Effect::Unchanged), "{effects:?}");
    assert_eq!(desk.intents().await, intents, "a second pass writes nothing");

    // What the server refuses is told in its words, and keeps no other from being made.
    let alias = set(&format!("n7.{top}"), RecordType::Cname, &["b.example."]);
    let good: Vec<_> = (0..20).map(|n| desk.a(&format!("more{n}.many"), "192.0.2.1")).collect();
    let (bad, good) = tokio::join!(
        desk.set(&alias, Adoption::Never),
        join_all(good.iter().map(|set| desk.set(set, Adoption::Never)))
    );
    assert!(matches!(&bad, Effect::Rejected(text) if text.contains("n7")), "{bad:?}");
    assert!(good.iter().all(is_applied), "{good:?}");
    desk.clear("many").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_s_change_is_seen_by_the_next_look_and_never_overwritten_unseen() {
    let _turn = turn().await;
    for (server, zone) in servers() {
        let desk = Desk::new(server, zone).await;
        desk.clear("drift").await;
        let (ours, moved) = (desk.a("www.drift", "192.0.2.1"), desk.a("www.drift", "192.0.2.66"));
        desk.set(&ours, Adoption::Never).await;
        desk.foreign(&moved).await;
        assert_eq!(desk.look(&ours, LONG_AGO).await.set, Some(ours.clone()), "as of long ago");
        assert_eq!(desk.look(&ours, NOW).await.set, Some(moved.clone()));
        let effect = desk.set(&ours, Adoption::Never).await;
        assert_eq!(effect, Effect::Applied { before: Some(moved), after: Some(ours.clone()) });
        let child = landfall::dns::Name::parse(&format!("child.drift.{}", desk.zone.name)).unwrap();
        let delegation = set(child.as_str(), RecordType::Ns, &["ns.example."]);
        desk.foreign(&delegation).await;
        let below = desk.a("www.child.drift", "192.0.2.1");
        assert_eq!(desk.look(&below, NOW).await.delegation, Some(child));
        desk.clear("drift").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_settled_by_reading() {
    let _turn = turn().await;
    let base = lossy(&env("PDNS_URL")).await;
    let desk = Desk::new(Server::PowerDns(powerdns_at(&base, &env("PDNS_API_KEY"))), "PDNS_ZONE").await;
    let plain = Desk::new(Server::PowerDns(crate::pdns::powerdns()), "PDNS_ZONE").await;
    plain.clear("lost").await;
    let wanted = desk.a("www.lost", "192.0.2.1");
    assert!(is_applied(&desk.set(&wanted, Adoption::Never).await));
    assert_eq!(desk.intents().await, json!([["powerdns.patch_zone", "Settled", 1]]));
    assert_eq!(desk.set(&wanted, Adoption::Never).await, Effect::Unchanged);
    desk.gone(&wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_away_nothing_is_written_and_looks_go_on() {
    let _turn = turn().await;
    let database = Database::fresh().await;
    let wire = Wire::to(&database.url).await;
    let url = wire.url(&database.url);
    for (server, zone) in servers() {
        let database = Database { url: database.url.clone(), name: database.name.clone() };
        let desk = Desk::on(database, &url, server, zone).await;
        let wanted = desk.a("away", "192.0.2.1");
        desk.clear("away").await;
        wire.cut();
        let wish = || Wish {
            subject: desk.subject("web"),
            why: "a test".into(),
            owner: wanted.owner().clone(),
            kind: wanted.kind(),
            want: Want::Set { set: wanted.clone(), adoption: Adoption::Never },
            by: None,
        };
        let error = desk.zones.change(&desk.account, &desk.zone, wish()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::LedgerUnavailable, "{error}");
        assert_eq!(desk.look(&wanted, NOW).await.set, None);
        wire.mend();
        // A connection that was cut may be met once more.
        let until = std::time::Instant::now() + Duration::from_secs(30);
        let effect = loop {
            match desk.zones.change(&desk.account, &desk.zone, wish()).await {
                Err(error) if error.reason() == Reason::LedgerUnavailable && std::time::Instant::now() < until => {}
                other => break other.unwrap(),
            }
        };
        assert!(is_applied(&effect), "{effect:?}");
        desk.gone(&wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_former_leader_left_open_is_settled_by_reading_and_never_repeated() {
    let _turn = turn().await;
    for (server, zone) in servers() {
        let mut desk = Desk::new(server, zone).await;
        desk.clear("former").await;
        let (landed, never) = (desk.a("landed.former", "192.0.2.1"), desk.a("never.former", "192.0.2.1"));
        assert!(is_applied(&desk.set(&landed, Adoption::Never).await));
        let part = |name: &str| json!({"name": name, "type": "A", "before": null, "after": {"ttl": 60, "values": ["192.0.2.1"]}});
        let elsewhere = json!("dns://elsewhere.example:53");
        for (set, server) in [(&landed, None), (&never, None), (&landed, Some(&elsewhere))] {
            let mut details = json!({"credential": desk.account.credential.uid, "zone": desk.zone.id});
            details.as_object_mut().unwrap().extend(server.map(|server| ("server".to_owned(), server.clone())));
            let intent = NewIntent {
                subjects: vec![desk.subject("web")],
                call: desk.account.server.call(),
                why: "a test".into(),
                approved_by: None,
                details,
                parts: vec![part(set.owner().as_str())],
            };
            desk.ledger.intend(intent).await.unwrap();
        }
        desk.lead_again().await;
        assert_eq!(desk.set(&landed, Adoption::Never).await, Effect::Unchanged);
        let outcomes = desk.sql("SELECT jsonb_agg(outcome ORDER BY created_at) FROM intents").await;
        assert_eq!(
            outcomes,
            json!(["Done", "Settled", "Unknown", "Unknown"]),
            "what stands here says nothing of elsewhere"
        );
        let (call, credential) = (desk.account.server.call(), desk.account.credential.uid);
        let open = desk.ledger.left_open(call, credential, &desk.zone.id).await.unwrap();
        assert!(open.is_empty(), "what was read once is not asked again: {open:?}");
        assert_eq!(desk.standing(never.owner(), RecordType::A).await, None, "nothing is repeated");
        desk.clear("former").await;
    }
}

/// Between the look at a domain and the write lies a queue: the claim counts when the intent is put on record.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_for_a_domain_that_was_lost_meanwhile() {
    let _turn = turn().await;
    for (server, zone) in servers() {
        let desk = Desk::new(server, zone).await;
        desk.clear("claims").await;
        let (kept, lost) = (desk.domain("kept.example").await, desk.domain("lost.example").await);
        let (one, two) = (desk.a("one.claims", "192.0.2.1"), desk.a("two.claims", "192.0.2.1"));
        let by = |domain: &Subject| Some(By { domain: domain.clone(), at: jiff::Timestamp::now() });
        let want = |set: &RecordSet| Want::Set { set: set.clone(), adoption: Adoption::Never };
        let write = async |set: &RecordSet, domain: &Subject| {
            desk.change_by(by(domain), set.owner(), set.kind(), want(set)).await
        };
        assert!(is_applied(&write(&one, &lost).await.unwrap()));
        assert!(is_applied(&desk.gone(&one).await));
        let release = format!(
            "WITH rows AS (UPDATE domain_claims SET released_at = now(), release_reason = 'test' WHERE domain_uid = '{}' RETURNING 1)
             SELECT to_jsonb(count(*)) FROM rows",
            lost.uid
        );
        assert_eq!(desk.sql(&release).await, json!(1));
        let (refused, made) = tokio::join!(write(&one, &lost), write(&two, &kept));
        assert_eq!(refused.unwrap_err().reason(), Reason::DomainNotVerified);
        assert!(is_applied(&made.unwrap()), "the rest of the batch goes on");
        assert_eq!(desk.standing(one.owner(), RecordType::A).await, None);
        let about = "SELECT to_jsonb(count(*)) FROM intents, jsonb_array_elements(details -> 'parts') AS p WHERE p ->> 'name' LIKE 'one.%'";
        assert_eq!(desk.sql(about).await, json!(2), "what was made before");
        // Values that several need: who has lost his domain loses his alone.
        let owner = desk.at("_acme-challenge.claims");
        let share = |value: &str| Want::Share { value: value.into(), ttl: 60 };
        let theirs = desk.change_by(by(&lost), &owner, RecordType::Txt, share("lost"));
        let (refused, made) = tokio::join!(theirs, desk.share(&owner, "kept"));
        assert_eq!(refused.unwrap_err().reason(), Reason::DomainNotVerified);
        assert!(is_applied(&made));
        assert_eq!(desk.standing(&owner, RecordType::Txt).await, Some(set(owner.as_str(), RecordType::Txt, &["kept"])));
        desk.unshare(&owner, "kept").await;
        desk.clear("claims").await;
    }
}
