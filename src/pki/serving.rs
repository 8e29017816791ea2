//! A certificate for one host with CAs of its own, which are renewed long before they end. Whoever trusts the CAs of a moment trusts
//! what is served for years after: a new CA stands beside the old one for as long before it signs.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Algorithm, Authority, Certificate, Chain, Flaw, Key, Term, authority};

/// A CA's life.
const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// A certificate's.
const LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Clocks differ.
const BEFORE: SignedDuration = SignedDuration::from_hours(1);

/// CAs with their keys, the oldest first, and the certificate of the host with its key.
#[derive(Default)]
pub struct Serving {
    authorities: Vec<(Authority, Key)>,
    leaf: Option<(Chain, Key)>,
}

/// One CA as it is kept.
#[derive(Serialize, Deserialize)]
struct Pair {
    certificate: String,
    key: String,
}

impl Serving {
    /// What was kept by [`Self::fields`]; `None` where its CAs are not whole. A certificate that is not whole, or for another
    /// host, is left out.
    pub fn read<'a>(field: impl Fn(&str) -> Option<&'a [u8]>, host: &str) -> Option<Self> {
        let pairs: Vec<Pair> = serde_json::from_slice(field("authorities.json")?).ok()?;
        let pair = |pair: &Pair| {
            let authority = Authority::read(pair.certificate.as_bytes(), pair.key.as_bytes(), None).ok()?;
            Some((authority, Key::read(pair.key.as_bytes()).ok()?))
        };
        let authorities = pairs.iter().map(pair).collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())?;
        let leaf = || {
            let (chain, key) = (Chain::read(field("tls.crt")?).ok()?, Key::read(field("tls.key")?).ok()?);
            (field("host")? == host.as_bytes() && chain.fits(&key).is_ok()).then_some((chain, key))
        };
        Some(Self { authorities, leaf: leaf() })
    }

    /// All that there is, private keys too, by names of files.
    ///
    /// # Errors
    /// There is no certificate yet.
    pub fn fields(&self, host: &str) -> Result<BTreeMap<&'static str, Vec<u8>>, Flaw> {
        let (chain, key) = self.leaf()?;
        let pair = |(authority, key): &(Authority, Key)| Pair {
            certificate: authority.certificate().pem(),
            key: key.pem().to_owned(),
        };
        let pairs: Vec<Pair> = self.authorities.iter().map(pair).collect();
        Ok(BTreeMap::from([
            ("host", host.as_bytes().to_vec()),
            ("ca.crt", self.bundle().into_bytes()),
            ("authorities.json", serde_json::to_vec(&pairs).map_err(|e| Flaw::invalid(e.to_string()))?),
            ("tls.crt", chain.pem().into_bytes()),
            ("tls.key", key.pem().as_bytes().to_vec()),
        ]))
    }

    /// The certificate with its chain, and its key.
    ///
    /// # Errors
    /// There is none yet.
    pub fn leaf(&self) -> Result<&(Chain, Key), Flaw> {
        self.leaf.as_ref().ok_or_else(|| Flaw::invalid("there is no certificate"))
    }

    /// The CAs, PEM.
    pub fn bundle(&self) -> String {
        self.authorities.iter().map(|(authority, _)| authority.certificate().pem()).collect()
    }

    /// Takes in the CAs of another one that it does not have, and says whether there were any. The oldest signs: whoever trusts
    /// that one, as all do who began before somebody began anew, is served.
    pub fn join(&mut self, other: Self) -> bool {
        let before = self.authorities.len();
        for (authority, key) in other.authorities {
            let pem = authority.certificate().pem();
            if self.authorities.iter().all(|(one, _)| one.certificate().pem() != pem) {
                self.authorities.push((authority, key));
            }
        }
        let joined = self.authorities.len() > before;
        if joined {
            self.authorities.sort_by_key(|(one, _)| one.certificate().not_before);
            self.leaf = None;
        }
        joined
    }

    /// Renews what is due, and says whether anything was. A CA joins when two thirds of the newest one's life are over, and goes
    /// when it has ended; of those that outlive the certificate the oldest signs.
    ///
    /// # Errors
    /// A host that no certificate can name.
    pub fn renew(&mut self, host: &str, now: Timestamp) -> Result<bool, Flaw> {
        let before = self.authorities.len();
        self.authorities.retain(|(one, _)| one.not_after() > now);
        let mut fresh = self.authorities.len() < before;
        if self.authorities.last().is_none_or(|(newest, _)| is_due(newest.certificate(), now)) {
            self.authorities.push(new_authority(now)?);
            fresh = true;
        }
        let good = self.leaf.as_ref().is_some_and(|(chain, _)| {
            let vouched = self.authorities.iter().any(|(one, _)| chain.leaf().is_signed_by(one.certificate()));
            vouched && !is_due(chain.leaf(), now)
        });
        if !good {
            self.leaf = Some(new_leaf(&self.authorities, host, now)?);
        }
        Ok(fresh || !good)
    }
}

fn new_leaf(authorities: &[(Authority, Key)], host: &str, now: Timestamp) -> Result<(Chain, Key), Flaw> {
    let end = now.saturating_add(LIFE).unwrap_or(Timestamp::MAX);
    let signer = authorities.iter().find(|(one, _)| one.not_after() > end).or(authorities.last());
    let (signer, _) = signer.ok_or_else(|| Flaw::invalid("there is no CA"))?;
    let key = Key::make(Algorithm::EcdsaP256)?;
    let host = url::Host::parse(host).map_err(|e| Flaw::invalid(format!("{host}: {e}")))?;
    let term = Term { not_before: before(now), not_after: end.min(signer.not_after()) };
    Ok((signer.sign_for(&key, &host, term)?, key))
}

fn new_authority(now: Timestamp) -> Result<(Authority, Key), Flaw> {
    let key = Key::make(Algorithm::EcdsaP256)?;
    let not_after = now.saturating_add(AUTHORITY_LIFE).unwrap_or(Timestamp::MAX);
    let name = format!("Landfall run API {now:.0}");
    let certificate = authority(&key, &name, Term { not_before: before(now), not_after })?;
    Ok((Authority::read(certificate.pem().as_bytes(), key.pem().as_bytes(), None)?, key))
}

fn before(now: Timestamp) -> Timestamp {
    now.saturating_sub(BEFORE).unwrap_or(Timestamp::MIN)
}

/// Two thirds of its life are over.
fn is_due(certificate: &Certificate, now: Timestamp) -> bool {
    let life = certificate.not_after.duration_since(certificate.not_before);
    now > certificate.not_before.saturating_add(life / 3 * 2).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOST: &str = "landfall-runs.landfall-system.svc";

    fn day(number: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + number * 86_400).unwrap()
    }

    fn leaf(kept: &Serving) -> &Certificate {
        kept.leaf().unwrap().0.leaf()
    }

    #[test]
    fn ten_years_of_looks_change_the_certificate_in_time_and_no_runner_ever_meets_a_ca_that_it_does_not_know() {
        let mut kept = Serving::default();
        assert!(kept.renew(HOST, day(0)).unwrap());
        let (mut certificates, mut trusted_long_ago) = (1, kept.bundle());
        for number in (0..12 * 365).step_by(5) {
            let now = day(number);
            certificates += usize::from(kept.renew(HOST, now).unwrap());
            assert!(leaf(&kept).not_after > now && leaf(&kept).not_before < now, "day {number}");
            // A runner of a month ago.
            let vouches = |(one, _): &(Authority, Key)| {
                trusted_long_ago.contains(&one.certificate().pem()) && leaf(&kept).is_signed_by(one.certificate())
            };
            assert!(kept.authorities.iter().any(vouches), "day {number}");
            if number % 30 == 0 {
                trusted_long_ago = kept.bundle();
            }
        }
        assert!((60..=80).contains(&certificates), "{certificates}");
        assert!(kept.authorities.len() <= 2);
    }

    #[test]
    fn what_is_kept_is_read_again_and_the_cas_stay_when_the_certificate_is_damaged_or_for_another_host() {
        let mut kept = Serving::default();
        kept.renew("10.0.0.1", day(0)).unwrap();
        let data = kept.fields("10.0.0.1").unwrap();
        let read = |data: &BTreeMap<&'static str, Vec<u8>>, host| {
            Serving::read(|name| data.get(name).map(Vec::as_slice), host)
        };
        let mut again = read(&data, "10.0.0.1").unwrap();
        assert!(!again.renew("10.0.0.1", day(1)).unwrap(), "nothing is due");
        assert_eq!(leaf(&again), leaf(&kept));
        let mut moved = read(&data, "10.0.0.2").unwrap();
        assert!(moved.renew("10.0.0.2", day(1)).unwrap());
        assert_eq!(moved.bundle(), kept.bundle(), "pods that run trust the new one");
        let with = |field, value: &str| {
            let mut damaged = data.clone();
            damaged.insert(field, value.into());
            damaged
        };
        for field in ["host", "tls.crt", "tls.key"] {
            let found = read(&with(field, "nonsense"), "10.0.0.1");
            assert!(found.is_some_and(|kept| kept.leaf.is_none()), "{field}");
        }
        for value in ["nonsense", "[]"] {
            assert!(read(&with("authorities.json", value), "10.0.0.1").is_none());
        }
    }

    #[test]
    fn who_began_anew_takes_in_what_others_trust_and_is_served_by_the_oldest() {
        let (mut old, mut new) = (Serving::default(), Serving::default());
        old.renew(HOST, day(0)).unwrap();
        new.renew(HOST, day(1)).unwrap();
        let (trusted, fresh) = (old.bundle(), new.bundle());
        assert!(new.join(old));
        assert!(new.renew(HOST, day(1)).unwrap());
        assert_eq!(new.bundle(), trusted + &fresh);
        let (oldest, _) = new.authorities.first().unwrap();
        assert!(new.leaf().unwrap().0.leaf().is_signed_by(oldest.certificate()));
        let mut same = Serving::default();
        assert!(same.join(new));
        assert!(!same.join(Serving::default()));
    }
}
