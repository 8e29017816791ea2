//! Orders from their beginning to the certificate, at CAs of several tempers.

use landfall::acme::{Cause, OrderStatus};

use crate::pebble::Switches;
use crate::world::{World, domain, leaf, order, present, settled};

/// So many certificates at once, each of an apex and its wildcard. How many proofs were asked for.
async fn issue(world: &World, domains: &[String]) -> usize {
    let one = async |domain: &String| {
        let names = [domain.clone(), format!("*.{domain}")];
        let (url, proofs) = order(&world.account, &names, None).await;
        let chain = world.account.download(&url, None).await.unwrap();
        let (_, certificate) =
            x509_parser::parse_x509_certificate(&leaf(&chain)).map(|(r, c)| (r.len(), c.serial.clone())).unwrap();
        assert!(certificate.bits() > 0);
        assert_eq!(names_of(&chain), [format!("*.{domain}"), domain.clone()]);
        proofs
    };
    futures::future::join_all(domains.iter().map(one)).await.into_iter().sum()
}

/// The names of the first certificate, in order.
fn names_of(chain: &str) -> Vec<String> {
    let der = leaf(chain);
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.iter();
    let mut names: Vec<String> = names
        .map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => (*name).to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn thirty_of_thirty_where_half_of_the_nonces_are_rejected_and_no_proof_is_used_again() {
    let world = World::new(Switches { nonce_reject: 50, sleep: Some(2), ..Switches::default() }).await;
    let domains: Vec<String> = (0..30).map(|_| domain()).collect();
    assert_eq!(issue(&world, &domains).await, 60);
    // Pebble takes 0 for a hundredth: now and then it uses one again.
    let again = issue(&world, &domains[..3]).await;
    assert!((4..=6).contains(&again), "each order proves its names: {again}");
}

#[tokio::test]
async fn thirty_of_thirty_where_proofs_are_used_again() {
    let world =
        World::new(Switches { nonce_reject: 50, authz_reuse: 100, sleep: Some(2), ..Switches::default() }).await;
    let domains: Vec<String> = (0..30).map(|_| domain()).collect();
    assert_eq!(issue(&world, &domains).await, 60);
    assert_eq!(issue(&world, &domains).await, 0, "nothing is asked for again");
}

#[tokio::test]
async fn nine_of_ten_nonces_rejected_is_still_a_certificate() {
    let world = World::new(Switches { nonce_reject: 90, ..Switches::default() }).await;
    assert_eq!(issue(&world, &[domain()]).await, 2);
}

#[tokio::test]
async fn a_wrong_proof_makes_the_order_invalid_and_tells_why() {
    let world = World::new(Switches::default()).await;
    let placed = world.account.new_order(&[domain()], None, None).await.unwrap();
    let mut challenges = world.account.authorizations(&placed.url).await.unwrap();
    challenges[0].value = "wrong".into();
    present(&challenges).await;
    world.account.respond(&placed.url).await.unwrap();
    let seen = settled(&world.account, &placed.url, OrderStatus::Pending).await;
    let problem = seen.problem.unwrap();
    assert_eq!((seen.status, problem.cause), (OrderStatus::Invalid, Cause::Unauthorized), "{}", problem.message);
    assert!(problem.message.contains("DNS challenge"), "{}", problem.message);
}

#[tokio::test]
async fn what_is_asked_twice_is_done_once() {
    let world = World::new(Switches { sleep: Some(2), ..Switches::default() }).await;
    let (account, names) = (&world.account, [domain()]);
    let placed = account.new_order(&names, None, None).await.unwrap();
    let challenges = account.authorizations(&placed.url).await.unwrap();
    assert_eq!(account.authorizations(&placed.url).await.unwrap(), challenges, "the same proofs");
    let early = account.finalize(&placed.url, &crate::world::csr(&names)).await.unwrap();
    assert_eq!(early.status, OrderStatus::Pending, "an order that is not ready is only polled");
    assert_eq!(account.download(&placed.url, None).await.unwrap_err().cause, Cause::OrderNotReady);
    present(&challenges).await;
    account.respond(&placed.url).await.unwrap();
    account.respond(&placed.url).await.unwrap();
    assert_eq!(settled(account, &placed.url, OrderStatus::Pending).await.status, OrderStatus::Ready);
    let csr = crate::world::csr(&names);
    let seen = account.finalize(&placed.url, &csr).await.unwrap();
    assert!(matches!(seen.status, OrderStatus::Valid) || seen.retry_after.is_some(), "{seen:?}");
    account.finalize(&placed.url, &csr).await.unwrap();
    settled(account, &placed.url, OrderStatus::Processing).await;
    let first = account.download(&placed.url, None).await.unwrap();
    assert_eq!(account.download(&placed.url, None).await.unwrap(), first);
}

#[tokio::test]
async fn a_name_that_the_ca_issues_nothing_for_is_refused_at_once() {
    let world = World::new(Switches::default()).await;
    let blocked = format!("blocked.{}", crate::world::env("PDNS_ZONE"));
    let trouble = world.account.new_order(std::slice::from_ref(&blocked), None, None).await.unwrap_err();
    assert_eq!(trouble.cause, Cause::RejectedIdentifier, "{}", trouble.message);
    assert!(trouble.message.contains(&blocked) && !trouble.may_have_landed, "{}", trouble.message);
}
