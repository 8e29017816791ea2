//! Zones of a PowerDNS server. A marker is the `account` of a comment on the set.
//!
//! The API has no conditional write. Each change reads what it concerns, compares, and writes at once: another's write is
//! overwritten only in that moment between.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Failure, KEY, NAME, server_url};
use crate::access::text::line;
use crate::access::{Redactor, SecretBytes};
use crate::api::{PowerDnsCredential, Reason};
use crate::dns::{Data, Name, RecordSet, RecordType, Zone};
use crate::providers::dns::{Change, Contents, Dns, Other, Outcome, Standing, Trouble, unfit};
use crate::providers::isolation::{Isolation, Reply};
use crate::providers::lots::{lots, units};
use crate::providers::{Answer, Http};
use crate::{Error, Result};

/// A zone of 100,000 records is smaller.
const ZONE_LIMIT: usize = 32 * 1024 * 1024;
/// Names that are read one by one; for more, one call reads the zone.
const SINGLE_READS: usize = 4;
/// Changes of one call.
const LOT: usize = 1000;
/// Octets of one call's values; the server takes bodies of 2 MB as a rule, in which each value is longer.
const LOT_OCTETS: usize = 400_000;
/// What a comment of ours says; who it is of stands in `account`.
const COMMENT: &str = "managed by Landfall";

/// A PowerDNS server with a key.
pub struct PowerDns {
    http: Http,
    /// `{base}/api/v1/servers/{id}`.
    server: Url,
    key: HeaderValue,
    redactor: Redactor,
}

#[derive(Deserialize)]
struct ListedZone {
    id: String,
    name: String,
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct ZoneDetail {
    #[serde(default)]
    rrsets: Vec<Set>,
    serial: Option<u32>,
    /// How the API raises the serial; empty where it does not, as in zones that `pdnsutil` made.
    #[serde(default)]
    soa_edit_api: String,
}

#[derive(Clone, Deserialize)]
struct Set {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    ttl: u32,
    records: Vec<Record>,
    #[serde(default)]
    comments: Vec<Comment>,
}

#[derive(Clone, Deserialize)]
struct Record {
    content: String,
    #[serde(default)]
    disabled: bool,
}

#[derive(Clone, Deserialize, serde::Serialize)]
struct Comment {
    content: String,
    account: String,
    #[serde(default)]
    modified_at: i64,
}

impl PowerDnsCredential {
    /// The zones of this server. `base` is the endpoint, as it was permitted.
    ///
    /// # Errors
    /// `SecretKeyMissing`; `InvalidCredentials` where the key is none.
    pub fn zones(&self, http: &Http, base: &Url, secret: &SecretBytes) -> Result<PowerDns> {
        let key = secret.text(KEY)?;
        let mut value = HeaderValue::from_str(key.expose()).map_err(|_| {
            Error::condition(Reason::InvalidCredentials, format!("key {KEY:?} of the Secret is no API key"))
        })?;
        value.set_sensitive(true);
        let redactor = Redactor::new([key.expose()]);
        Ok(PowerDns { http: http.clone(), server: server_url(base, &self.server_id), key: value, redactor })
    }
}

impl Dns for PowerDns {
    fn marks(&self) -> bool {
        true
    }

    async fn zones(&self) -> Result<Vec<Zone>, Trouble> {
        let listed: Vec<ListedZone> = self.get(&["zones"], &[]).await?;
        let writable = |zone: &ListedZone| !matches!(zone.kind.as_str(), "Slave" | "Secondary" | "Consumer");
        let zones = listed.into_iter().filter(writable);
        Ok(zones.filter_map(|z| Some(Zone { name: Name::presented(&z.name).ok()?, id: z.id })).collect())
    }

    async fn read(&self, zone: &Zone, name: Option<&Name>) -> Result<Contents, Trouble> {
        Ok(contents(&self.sets(zone, name).await?))
    }

    async fn apply(&self, zone: &Zone, changes: &[Change]) -> Vec<Outcome> {
        let mut isolation = Isolation::new(units(changes), lots(changes, LOT, LOT_OCTETS));
        let standing = match self.concerned(zone, changes).await {
            Ok(standing) => standing,
            Err(trouble) => return vec![Outcome::Unsettled(trouble); changes.len()],
        };
        let all: Vec<(usize, &Change)> = changes.iter().enumerate().collect();
        for (number, outcome) in unfit(&all, &contents(&standing)) {
            isolation.put(number, outcome);
        }
        let mut first = Some(standing);
        while let Some(group) = isolation.next() {
            let lot: Vec<(usize, &Change)> = group.iter().filter_map(|n| Some((*n, changes.get(*n)?))).collect();
            let reply = match first.take() {
                Some(standing) => self.patch(zone, &lot, &standing).await,
                None => self.compare_and_patch(zone, &lot).await,
            };
            isolation.settle(group, reply);
        }
        isolation.outcomes()
    }

    async fn serial(&self, zone: &Zone) -> Result<Option<u32>, Trouble> {
        let detail: ZoneDetail = self.get(&["zones", &zone.id], &[("rrsets", "false")]).await?;
        Ok(detail.serial.filter(|_| !matches!(detail.soa_edit_api.as_str(), "" | "OFF")))
    }
}

impl PowerDns {
    /// Where calls go.
    pub(crate) fn endpoint(&self) -> String {
        self.server.to_string()
    }

    async fn sets(&self, zone: &Zone, name: Option<&Name>) -> Result<Vec<Set>, Trouble> {
        let absolute = name.map(Name::absolute);
        let only: Vec<(&str, &str)> = absolute.iter().map(|name| ("rrset_name", name.as_str())).collect();
        let detail: ZoneDetail = self.get(&["zones", &zone.id], &only).await?;
        // A server that does not know the filter sends the whole zone.
        let wanted = |set: &Set| name.is_none_or(|name| Name::presented(&set.name).is_ok_and(|n| n == *name));
        Ok(detail.rrsets.into_iter().filter(wanted).collect())
    }

    /// What stands at the names of these changes, or more.
    async fn concerned<'a>(
        &self,
        zone: &Zone,
        changes: impl IntoIterator<Item = &'a Change>,
    ) -> Result<Vec<Set>, Trouble> {
        let names: BTreeSet<&Name> = changes.into_iter().filter_map(|c| c.key().map(|(name, _)| name)).collect();
        if names.len() > SINGLE_READS {
            return self.sets(zone, None).await;
        }
        let reads = names.into_iter().map(|name| self.sets(zone, Some(name)));
        Ok(futures::future::try_join_all(reads).await?.into_iter().flatten().collect())
    }

    /// The same once more: between two calls others may have written.
    async fn compare_and_patch(&self, zone: &Zone, lot: &[(usize, &Change)]) -> Reply {
        let standing = match self.concerned(zone, lot.iter().map(|(_, change)| *change)).await {
            Ok(standing) => standing,
            Err(trouble) => return Reply::Trouble(trouble),
        };
        let changed = unfit(lot, &contents(&standing));
        if changed.is_empty() { self.patch(zone, lot, &standing).await } else { Reply::Settled(changed) }
    }

    /// One PATCH, which the server takes as a whole or not at all. It looks at the sets one after the other: what goes, goes
    /// first, so that a CNAME may take the place of another type.
    async fn patch(&self, zone: &Zone, lot: &[(usize, &Change)], standing: &[Set]) -> Reply {
        let (come, go): (Vec<&Change>, _) = lot.iter().map(|(_, change)| *change).partition(|c| c.after().is_some());
        let comments = comments(standing);
        let rrsets: Vec<Value> = go.into_iter().chain(come).filter_map(|change| rrset(change, &comments)).collect();
        let body = Bytes::from(json!({ "rrsets": rrsets }).to_string());
        let answer = match self.send(Method::PATCH, &["zones", &zone.id], &[], body).await {
            Ok(answer) => answer,
            Err(trouble) => return Reply::Trouble(trouble),
        };
        match answer.status {
            200..300 => Reply::Done,
            // 422: a set that it does not take. 400: a body that it does not; 404 is a zone that went.
            400 | 422 => {
                let text = self.said(&answer);
                match culprit(&text, lot) {
                    Some(number) if lot.len() > 1 => Reply::Settled(vec![(number, Outcome::Rejected(text))]),
                    _ => Reply::Refused(text),
                }
            }
            500.. => Reply::Trouble(self.trouble(&answer).open()),
            _ => Reply::Trouble(self.trouble(&answer)),
        }
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, Trouble> {
        let answer = self.send(Method::GET, path, query, Bytes::new()).await;
        // A question changes nothing.
        let answer = answer.map_err(|trouble| Trouble { may_have_landed: false, ..trouble })?;
        if answer.status != 200 {
            return Err(self.trouble(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|e| {
            let place = format!("line {}, column {}", e.line(), e.column());
            Trouble::new(Reason::ProviderUnavailable, format!("{NAME} sent what is not of its API ({place})"))
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, Trouble> {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = Request::builder().method(method).uri(url.as_str());
        let request = request.header("X-API-Key", self.key.clone()).header("Content-Type", "application/json");
        let request = request.body(body).map_err(|_| {
            Trouble::new(Reason::ProviderUnavailable, "spec.powerdns.serverId makes no URL; correct it")
        })?;
        let unanswered = |u: crate::providers::Unanswered| {
            let trouble = Trouble::new(u.reason, format!("{NAME}: {}", u.message));
            if u.sent { trouble.open() } else { trouble }
        };
        self.http.send_up_to(request, ZONE_LIMIT).await.map_err(unanswered)
    }

    /// What the server says of an error.
    fn said(&self, answer: &Answer) -> String {
        let text = match serde_json::from_slice::<Failure>(&answer.body) {
            Ok(failure) => failure.error,
            Err(_) => String::from_utf8_lossy(&answer.body).into_owned(),
        };
        line(&self.redactor.clean(&text), 512)
    }

    fn trouble(&self, answer: &Answer) -> Trouble {
        let reason = match answer.status {
            401 => Reason::InvalidCredentials,
            403 => Reason::IpNotAllowed,
            408 => Reason::Timeout,
            429 => Reason::RateLimited,
            _ => Reason::ProviderUnavailable,
        };
        let message = format!("{NAME} answered {}: {}", answer.status, self.said(answer));
        Trouble { retry_after: answer.retry_after, ..Trouble::new(reason, message) }
    }
}

/// Reads what the server has. A set with a record that is switched off is no set of ours: nobody is answered with it.
fn contents(sets: &[Set]) -> Contents {
    let mut contents = Contents::default();
    for set in sets.iter().filter(|set| set.kind != "SOA") {
        match read(set) {
            Ok(found) => {
                let markers = set.comments.iter().map(|c| c.account.clone()).filter(|a| !a.is_empty()).collect();
                contents.sets.push(Standing { set: found, markers });
            }
            Err(why) => contents.others.push(Other { name: set.name.clone(), kind: set.kind.clone(), why }),
        }
    }
    contents
}

fn read(set: &Set) -> Result<RecordSet, String> {
    if set.records.iter().any(|record| record.disabled) {
        return Err("a record of it is disabled".into());
    }
    let kind: RecordType = set.kind.parse().map_err(|e| format!("{e}"))?;
    let owner = Name::presented(&set.name).map_err(|e| e.to_string())?;
    let values = set.records.iter().map(|r| Data::presented(kind, &r.content).map(|data| (set.ttl, data)));
    let values = values.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    RecordSet::gathered(owner, kind, values).map_err(|e| e.to_string())
}

/// The comments of each set, by name and type.
fn comments(standing: &[Set]) -> HashMap<(Name, &str), &[Comment]> {
    let key = |set: &'_ Set| Name::presented(&set.name).ok();
    standing.iter().filter_map(|set| Some(((key(set)?, set.kind.as_str()), set.comments.as_slice()))).collect()
}

/// The change as PATCH has it. Comments of others are kept.
fn rrset(change: &Change, comments: &HashMap<(Name, &str), &[Comment]>) -> Option<Value> {
    let (owner, kind) = change.key()?;
    let (name, kind) = (owner.absolute(), kind.as_str());
    let Some(after) = change.after() else {
        return Some(json!({"name": name, "type": kind, "changetype": "DELETE"}));
    };
    let records: Vec<Value> =
        after.values().iter().map(|v| json!({"content": v.present(), "disabled": false})).collect();
    let ttl = after.ttl();
    let Some(marker) = change.marker() else {
        return Some(json!({"name": name, "type": kind, "changetype": "REPLACE", "ttl": ttl, "records": records}));
    };
    let before = comments.get(&(owner.clone(), kind)).copied().unwrap_or_default();
    let others = before.iter().filter(|c| c.content != COMMENT).map(|c| json!(c));
    let comments: Vec<Value> = others.chain([json!({"content": COMMENT, "account": marker})]).collect();
    Some(json!({
        "name": name, "type": kind, "changetype": "REPLACE", "ttl": ttl, "records": records, "comments": comments,
    }))
}

/// The one change that an error names, by its name and type as words of the text; `None` where it names none or several.
fn culprit(text: &str, lot: &[(usize, &Change)]) -> Option<usize> {
    let words: BTreeSet<&str> =
        text.split(|c: char| c.is_whitespace() || matches!(c, '/' | '\'' | ':' | ',' | '"')).collect();
    let named = |change: &Change| {
        change
            .key()
            .is_some_and(|(owner, kind)| words.contains(owner.absolute().as_str()) && words.contains(kind.as_str()))
    };
    let mut found = lot.iter().filter(|(_, change)| named(change)).map(|(number, _)| *number);
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
#[path = "zones_tests.rs"]
mod tests;
