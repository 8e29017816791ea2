//! What the authoritative servers say of a challenge.

use crate::api::{DomainServer, Reason, ServerAnswer};
use crate::dns::Data;
use crate::zones::{Answers, Heard, Said};

/// Values and servers that a status shows.
const SHOWN_VALUES: usize = 10;
const SHOWN_SERVERS: usize = 20;
/// Octets of a value that a status shows.
const SHOWN_OCTETS: usize = 255;

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What follows from it.
    pub verdict: Verdict,
    /// The values that stand there, as text.
    pub seen: Vec<String>,
    /// What each server answered.
    pub servers: Vec<DomainServer>,
}

/// What follows from a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every server that answered has the value, and one did.
    Proved,
    /// A server answered, and none that did has the value; `RecordNotFound`, or `ContentMismatch` where others stand there,
    /// or `WildcardAnswer` where it stands at every name.
    Missing(Reason),
    /// Nothing follows: nobody answered, or they do not say the same. Why, in words.
    Undecided(String),
}

impl Found {
    /// Of what all servers said.
    pub fn of(answers: &Answers, value: &str) -> Self {
        let wanted = Data::Txt(value.as_bytes().to_vec());
        let verdict = if answers.all_have(&wanted) {
            Verdict::Proved
        } else if answers.none_has(&wanted) {
            let none = answers.values().is_empty();
            Verdict::Missing(if none { Reason::RecordNotFound } else { Reason::ContentMismatch })
        } else {
            Verdict::Undecided(undecided(answers, &wanted))
        };
        let mut seen: Vec<String> = answers.values().iter().filter_map(shown).collect();
        seen.sort();
        seen.truncate(SHOWN_VALUES);
        let mut servers: Vec<DomainServer> = answers.servers.iter().map(|heard| server(heard, &wanted)).collect();
        servers.sort_by(|a, b| a.host.cmp(&b.host));
        servers.truncate(SHOWN_SERVERS);
        Self { verdict, seen, servers }
    }

    /// The same, where a proof counts only if the zone does not say the same of a name that nobody made: `here` is what stands
    /// at the challenge itself, aliases not followed, and `beside` what stands at a name of chance next to it. Whoever owns
    /// what a wildcard leads to owns nothing of the zone.
    #[must_use]
    pub fn unless_by_wildcard(mut self, here: &Answers, beside: &Answers) -> Self {
        if self.verdict == Verdict::Proved {
            if is_synthesised(here, beside) {
                self.verdict = Verdict::Missing(Reason::WildcardAnswer);
            } else if !beside.answered() {
                self.verdict = Verdict::Undecided("no server says whether a wildcard answers for the challenge".into());
            }
        }
        self
    }
}

/// Whether a server has the same values at both names.
fn is_synthesised(here: &Answers, beside: &Answers) -> bool {
    here.servers.iter().any(|heard| {
        let Said::Values { values, .. } = &heard.answer else { return false };
        let same = |other: &Said| matches!(other, Said::Values { values: others, .. } if others == values);
        beside.servers.iter().any(|other| other.address == heard.address && same(&other.answer))
    })
}

/// The text of a TXT value, on one line; `None` of another type.
fn shown(data: &Data) -> Option<String> {
    let Data::Txt(bytes) = data else { return None };
    Some(crate::access::text::line(&String::from_utf8_lossy(bytes), SHOWN_OCTETS))
}

fn server(heard: &Heard, wanted: &Data) -> DomainServer {
    let answer = match &heard.answer {
        Said::Values { values, .. } if values.contains(wanted) => ServerAnswer::Present,
        Said::Values { .. } => ServerAnswer::Different,
        Said::NoData | Said::NoName => ServerAnswer::Absent,
        Said::Nothing(_) => ServerAnswer::Unreachable,
    };
    DomainServer { host: heard.host.clone(), answer }
}

fn undecided(answers: &Answers, wanted: &Data) -> String {
    if answers.answered() {
        let has = |heard: &&Heard| server(heard, wanted).answer == ServerAnswer::Present;
        let with: Vec<&str> = answers.servers.iter().filter(has).map(|heard| heard.host.as_str()).collect();
        return format!("the servers do not say the same: of those that answered, only {} has it", with.join(", "));
    }
    let why = |heard: &Heard| match &heard.answer {
        Said::Nothing(why) => format!("{}: {why}", heard.host),
        _ => heard.host.clone(),
    };
    let each: Vec<String> = answers.servers.iter().take(3).map(why).collect();
    let causes = answers.trouble.clone().unwrap_or_else(|| each.join("; "));
    format!("no authoritative server answered: {causes}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn txt(text: &str) -> Data {
        Data::Txt(text.as_bytes().to_vec())
    }

    fn values(all: &[&str]) -> Said {
        Said::Values { values: all.iter().map(|text| txt(text)).collect(), ttl: 60 }
    }

    fn lost() -> Said {
        Said::Nothing("SERVFAIL".into())
    }

    fn answers(said: Vec<Said>) -> Answers {
        let heard =
            |(n, answer)| Heard { host: format!("ns{n}.example.com"), address: ([192, 0, 2, n], 53).into(), answer };
        Answers { servers: (1..).zip(said).map(heard).collect(), trouble: None }
    }

    #[test]
    fn all_that_answer_must_have_it_and_silence_proves_nothing() {
        use Reason::{ContentMismatch, RecordNotFound};
        let missing = |reason| Some(Verdict::Missing(reason));
        for (said, expected) in [
            (vec![values(&["v"])], Some(Verdict::Proved)),
            (vec![values(&["other", "v"]), values(&["v"])], Some(Verdict::Proved)),
            (vec![values(&["v"]), lost()], Some(Verdict::Proved)),
            (vec![Said::NoName], missing(RecordNotFound)),
            (vec![Said::NoData, Said::NoName, lost()], missing(RecordNotFound)),
            (vec![values(&["V"]), Said::NoName], missing(ContentMismatch)),
            (vec![values(&["v "]), values(&["\"v\""])], missing(ContentMismatch)),
            (vec![values(&["v"]), Said::NoName], None),
            (vec![values(&["v"]), values(&["other"])], None),
            (vec![lost(), lost()], None),
            (vec![], None),
        ] {
            let found = Found::of(&answers(said.clone()), "v");
            match expected {
                Some(expected) => assert_eq!(found.verdict, expected, "{said:?}"),
                None => assert!(matches!(found.verdict, Verdict::Undecided(_)), "{said:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_status_shows_what_stands_there_and_who_says_so() {
        let found = Found::of(&answers(vec![values(&["b", "a\u{202e}\n"]), Said::NoName, lost()]), "v");
        assert_eq!(found.seen.len(), 2);
        assert!(found.seen.iter().all(|text| !text.contains(['\n', '\u{202e}'])), "{:?}", found.seen);
        let said: Vec<ServerAnswer> = found.servers.iter().map(|server| server.answer).collect();
        assert_eq!(said, [ServerAnswer::Different, ServerAnswer::Absent, ServerAnswer::Unreachable]);
        let many = Found::of(&answers((0..50).map(|n| values(&[n.to_string().as_str()])).collect()), "v");
        assert_eq!((many.seen.len(), many.servers.len()), (SHOWN_VALUES, SHOWN_SERVERS));
    }

    #[test]
    fn why_nothing_follows_is_said() {
        let Verdict::Undecided(why) = Found::of(&answers(vec![values(&["v"]), Said::NoName]), "v").verdict else {
            unreachable!()
        };
        assert!(why.contains("only ns1.example.com has it"), "{why}");
        let Verdict::Undecided(why) = Found::of(&answers(vec![lost()]), "v").verdict else { unreachable!() };
        assert!(why.contains("ns1.example.com: SERVFAIL"), "{why}");
        let nobody = Answers { servers: Vec::new(), trouble: Some("example.com has no NS".into()) };
        let Verdict::Undecided(why) = Found::of(&nobody, "v").verdict else { unreachable!() };
        assert!(why.contains("example.com has no NS"), "{why}");
    }
}
