//! When the next certificate is issued, and when people are told that an end is near. Nothing is remembered: the times
//! follow from the certificate, so a restart renews nothing.

use jiff::{SignedDuration, Timestamp};

use crate::api::{RenewalPolicy, RenewalSettings};
use crate::reconcile::backoff::share;

/// Lives up to this are renewed at their half.
const SHORT: SignedDuration = SignedDuration::from_hours(10 * 24);
/// People are told so many days before an end that nothing puts off.
const NOTICES: [i32; 3] = [7, 14, 30];

/// When to issue the next: with a third of the life left (half, where it is ten days or less), or `before`, and up to a
/// twentieth of the life earlier, by the serial number, so that certificates which were issued together are not renewed
/// together. At least a third of the life passes before that, less the twentieth. `None` where the policy is `Manual`.
///
/// Where the CA tells a window, a time within it counts, by the serial number; or `before`, where that is asked for and comes
/// first. A sixth of the life is left in any case.
pub(super) fn due(
    (not_before, not_after): (Timestamp, Timestamp),
    serial: &str,
    renewal: &RenewalSettings,
    window: Option<(Timestamp, Timestamp)>,
) -> Option<Timestamp> {
    if renewal.policy == RenewalPolicy::Manual {
        return None;
    }
    let life = not_after.duration_since(not_before);
    let before = renewal.before.as_ref().and_then(|text| SignedDuration::try_from(text.get()?).ok());
    let left = before.unwrap_or(if life <= SHORT { life / 2 } else { life / 3 }).min(life / 3 * 2);
    let share = i32::from(share(&serial));
    let early = life / 20_000 * share;
    let usual = not_after.checked_sub(left + early).unwrap_or(Timestamp::MIN);
    let Some((from, until)) = window else { return Some(usual) };
    let within = from.checked_add(until.duration_since(from) / 1000 * share).unwrap_or(until);
    let latest = not_after.checked_sub(life / 6).unwrap_or(Timestamp::MIN);
    let asked_for = before.map_or(Timestamp::MAX, |_| usual);
    Some(within.min(latest).min(asked_for))
}

/// The notices that apply, and the next one that will: of how many days, and when. A notice comes at a third of the life at
/// the earliest.
pub(super) fn notice(
    (not_before, not_after): (Timestamp, Timestamp),
    now: Timestamp,
) -> (Option<i32>, Option<Timestamp>) {
    let third = not_after.duration_since(not_before) / 3;
    let at = |days: i32| {
        let ahead = SignedDuration::from_hours(24 * i64::from(days)).min(third);
        not_after.checked_sub(ahead).unwrap_or(Timestamp::MIN)
    };
    let reached = NOTICES.into_iter().find(|days| now >= at(*days));
    let next = NOTICES.into_iter().map(at).filter(|at| *at > now).min();
    (reached, next)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::api::DurationText;

    const DAY: i64 = 86_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn settings(before: Option<&str>) -> RenewalSettings {
        RenewalSettings { policy: RenewalPolicy::Automatic, before: before.map(|text| DurationText(text.into())) }
    }

    fn left(life: i64, before: Option<&str>, serial: &str) -> i64 {
        let due = due((at(0), at(life)), serial, &settings(before), None).unwrap();
        life - due.as_second()
    }

    #[test]
    fn a_third_is_left_or_half_of_a_short_life_or_what_was_asked_for() {
        for (life, before, least) in [
            (90 * DAY, None, 30 * DAY),
            (45 * DAY, None, 15 * DAY),
            (10 * DAY, None, 5 * DAY),
            (6 * DAY, None, 3 * DAY),
            (90 * DAY, Some("720h"), 30 * DAY),
            (90 * DAY, Some("1h"), 3600),
            (90 * DAY, Some("2159h"), 60 * DAY),
        ] {
            for serial in ["01", "5f3a", "ffff"] {
                let left = left(life, before, serial);
                assert!((least..=least + life / 20).contains(&left), "{life} {before:?}: {left}");
            }
        }
        let manual = RenewalSettings { policy: RenewalPolicy::Manual, before: None };
        assert_eq!(due((at(0), at(DAY)), "01", &manual, None), None);
    }

    #[test]
    fn a_window_that_the_ca_tells_counts_but_for_an_earlier_wish_and_never_too_late() {
        let told = |before, from: i64, until: i64| {
            let window = Some((at(from * DAY), at(until * DAY)));
            due((at(0), at(90 * DAY)), "5f3a", &settings(before), window).unwrap().as_second()
        };
        assert!((20 * DAY..=30 * DAY).contains(&told(None, 20, 30)));
        assert!((-2 * DAY..=-DAY).contains(&told(None, -2, -1)), "at once");
        assert!(told(Some("1440h"), 50, 52) <= 30 * DAY, "a person wants it earlier");
        assert!((50 * DAY..=52 * DAY).contains(&told(Some("24h"), 50, 52)));
        assert_eq!(told(None, 89, 95), 75 * DAY, "a sixth is left");
    }

    #[test]
    fn ten_thousand_of_one_hour_are_spread_over_days() {
        let mut hours = std::collections::BTreeMap::<i64, u32>::new();
        for n in 0..10_000 {
            *hours.entry(left(90 * DAY, None, &format!("{n:032x}")) / 3600).or_default() += 1;
        }
        assert!(hours.len() >= 100 && hours.values().all(|count| *count < 250), "{hours:?}");
    }

    #[test]
    fn people_are_told_at_thirty_fourteen_and_seven_days() {
        let (year, end) = (365 * DAY, at(365 * DAY));
        let ask = |days_left: i64| notice((at(0), end), at(year - days_left * DAY));
        let before = |days: i64| Some(at(year - days * DAY));
        assert_eq!(ask(31), (None, before(30)));
        assert_eq!(ask(30), (Some(30), before(14)));
        assert_eq!(ask(10), (Some(14), before(7)));
        assert_eq!(ask(7), (Some(7), None));
        assert_eq!(notice((at(0), at(9 * DAY)), at(5 * DAY)).0, None, "of a short life, in its last third");
        assert_eq!(notice((at(0), at(9 * DAY)), at(6 * DAY)).0, Some(7));
    }

    proptest! {
        #[test]
        fn a_quarter_of_the_life_is_left_whatever_it_is(life in 3600..400 * DAY, serial in "[0-9a-f]{8,32}") {
            let left = left(life, None, &serial);
            prop_assert!(left * 4 >= life && left * 3 <= life * 2, "{left} of {life}");
        }

        #[test]
        fn no_times_and_no_setting_panic(from in any::<i64>(), to in any::<i64>(), before in "[0-9]{1,5}[hms]") {
            let clamp = |s: i64| Timestamp::from_second(s).unwrap_or(Timestamp::MAX);
            let window = Some((clamp(to), clamp(from)));
            let _ = due((clamp(from), clamp(to)), "00", &settings(Some(&before)), window);
            let _ = notice((clamp(from), clamp(to)), clamp(to));
        }
    }
}
