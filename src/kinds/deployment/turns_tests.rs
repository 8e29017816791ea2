//! The order of turns, over any queue.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

fn organization(n: u8) -> Organization {
    Organization(format!("o{n}"))
}

fn candidate(of: u8, rank: Rank) -> Candidate {
    Candidate { organization: organization(of), credential: None, rank }
}

fn with(of: u8, credential: u128, rank: Rank) -> Candidate {
    Candidate { credential: Some(Uuid::from_u128(credential)), ..candidate(of, rank) }
}

/// So many runs under way, of each organization in turn.
fn runs(of: &[(u8, usize)]) -> UnderWay {
    let mut under_way = UnderWay::default();
    for (n, count) in of {
        (0..*count).for_each(|_| under_way.add(&organization(*n), None));
    }
    under_way
}

fn turns(waiting: &[Candidate], under_way: &UnderWay, served: &Served, room: Room) -> Vec<usize> {
    order(&waiting.iter().collect::<Vec<_>>(), &mut under_way.clone(), served, Some(room))
}

fn turn_of(waiting: &[Candidate], me: usize, under_way: &UnderWay, room: Room) -> Turn {
    turn(&waiting.iter().collect::<Vec<_>>(), me, under_way, &Served::new(), room)
}

#[test]
fn inside_an_organization_what_was_approved_goes_first_then_what_is_new_then_who_came_first() {
    use Rank::{Again, Approved, New};
    let waiting: Vec<_> = [Again, New, Approved, New, Again].map(|rank| candidate(0, rank)).to_vec();
    assert_eq!(turns(&waiting, &runs(&[]), &Served::new(), Room::of(9)), [2, 1, 3, 0, 4]);
    let told = turn_of(&waiting, 4, &runs(&[(0, 1)]), Room::of(2));
    assert_eq!(told, Turn::Later { limit: Limit::Runs, ahead: 4 });
}

#[test]
fn with_two_hundred_of_one_organization_waiting_the_first_of_another_has_the_next_place() {
    let mut waiting = vec![candidate(0, Rank::Approved); 200];
    waiting.push(candidate(1, Rank::Again));
    for places in [1, 2, 4, 256] {
        // All places were theirs, and one has become free; with one place theirs was the last to be begun.
        let (under_way, served) = (runs(&[(0, places - 1)]), Served::from([(organization(0), 1)]));
        assert_eq!(turns(&waiting, &under_way, &served, Room::of(places)), [200], "{places} places");
    }
}

/// Each look asks for it, and each namespace may be an organization of its own.
#[test]
fn thousands_that_wait_are_put_in_order_at_once() {
    let waiting: Vec<_> = (0..6000)
        .map(|n| Candidate { organization: Organization(format!("o{}", n % 3000)), ..candidate(0, Rank::New) })
        .collect();
    let began = std::time::Instant::now();
    let told = turn_of(&waiting, 5999, &runs(&[]), Room::of(4));
    assert_eq!(told, Turn::Later { limit: Limit::Runs, ahead: 5999 });
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

#[test]
fn who_is_kept_by_a_limit_of_its_own_keeps_nobody_else() {
    let room = Room { per_organization: Some(2), per_credential: Some(1), ..Room::of(4) };
    let mut under_way = runs(&[(0, 2)]);
    under_way.add(&organization(1), Some(Uuid::from_u128(7)));
    let waiting =
        [candidate(0, Rank::New), with(1, 7, Rank::Approved), with(1, 8, Rank::Again), with(1, 9, Rank::Again)];
    assert_eq!(turns(&waiting, &under_way, &Served::new(), room), [2]);
    let told = |me| turn_of(&waiting, me, &under_way, room);
    assert_eq!(told(0), Turn::Later { limit: Limit::Organization, ahead: 0 });
    assert_eq!(told(1), Turn::Later { limit: Limit::Credential, ahead: 0 });
    assert_eq!(told(2), Turn::Now);
    assert_eq!(told(3), Turn::Later { limit: Limit::Organization, ahead: 2 });
    let more = [waiting[1].clone(), waiting[1].clone(), with(2, 7, Rank::New)];
    assert_eq!(turn_of(&more, 1, &under_way, room), Turn::Later { limit: Limit::Credential, ahead: 2 });
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let rank = prop_oneof![Just(Rank::Approved), Just(Rank::New), Just(Rank::Again)];
    (0u8..6, 0u128..8, rank).prop_map(|(of, key, rank)| match key {
        0 => candidate(of, rank),
        key => with(of, key, rank),
    })
}

fn any_room() -> impl Strategy<Value = Room> {
    let limit = || prop::option::of(1usize..5);
    (1usize..10, limit(), limit()).prop_map(|(runs, per_organization, per_credential)| Room {
        per_organization,
        per_credential,
        ..Room::of(runs)
    })
}

/// The rule, word for word: of those for whom there is a place the organization with the fewest runs, of several the one that was
/// served longest ago, then who came first; inside an organization by rank.
fn by_the_rule(waiting: &[Candidate], mut under_way: UnderWay, mut served: Served, room: Option<Room>) -> Vec<usize> {
    let (mut left, mut turns): (Vec<usize>, _) = ((0..waiting.len()).collect(), Vec::new());
    loop {
        let fits = |at: &usize| {
            room.is_none_or(|room| under_way.limit(room, &waiting[*at].organization, waiting[*at].credential).is_none())
        };
        let of = |at: usize| waiting[at].organization.clone();
        let first = |at: &usize| {
            let line = left.iter().filter(|other| fits(other) && of(**other) == of(*at));
            line.min_by_key(|other| (waiting[**other].rank, **other)) == Some(at)
        };
        let since = |at: usize| served.get(&of(at)).copied().unwrap_or_default();
        let heads = left.iter().filter(|at| fits(at) && first(at));
        let Some(next) = heads.min_by_key(|at| (under_way.of(&of(**at)), since(**at), **at)).copied() else {
            return turns;
        };
        let last = served.values().max().copied().unwrap_or_default();
        served.insert(of(next), last + 1);
        under_way.add(&of(next), waiting[next].credential);
        left.retain(|at| *at != next);
        turns.push(next);
    }
}

proptest! {
    #[test]
    fn turns_go_by_the_rule(
        waiting in prop::collection::vec(any_candidate(), 0..20), before in prop::collection::vec(any_candidate(), 0..4),
        room in any_room(), limited in any::<bool>()
    ) {
        let (mut under_way, room) = (UnderWay::default(), limited.then_some(room));
        before.iter().for_each(|run| under_way.add(&run.organization, run.credential));
        let served = Served::from([(organization(0), 2), (organization(1), 1)]);
        let told = order(&waiting.iter().collect::<Vec<_>>(), &mut under_way.clone(), &served, room);
        prop_assert_eq!(told, by_the_rule(&waiting, under_way, served, room));
    }

    #[test]
    fn no_limit_is_passed_no_place_is_left_and_nobody_is_served_twice(
        waiting in prop::collection::vec(any_candidate(), 0..60), room in any_room()
    ) {
        let mut under_way = UnderWay::default();
        let given = turns(&waiting, &under_way, &Served::new(), room);
        for at in &given {
            let who = &waiting[*at];
            prop_assert_eq!(under_way.limit(room, &who.organization, who.credential), None);
            under_way.add(&who.organization, who.credential);
        }
        for (at, who) in waiting.iter().enumerate().filter(|(at, _)| !given.contains(at)) {
            prop_assert!(under_way.limit(room, &who.organization, who.credential).is_some(), "{} could go", at);
        }
        let all = order(&waiting.iter().collect::<Vec<_>>(), &mut UnderWay::default(), &Served::new(), None);
        let mut sorted = all.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..waiting.len()).collect::<Vec<_>>());
        for me in 0..waiting.len() {
            let told = turn_of(&waiting, me, &UnderWay::default(), room);
            prop_assert_eq!(told == Turn::Now, given.contains(&me));
        }
    }

    /// Runs end in any order, and all organizations always wait: while one has no run, no other begins two.
    #[test]
    fn places_go_round_over_the_organizations_that_wait(
        ends in prop::collection::vec(any::<prop::sample::Index>(), 60), places in 1usize..6, organizations in 2u8..8
    ) {
        let waiting: Vec<_> = (0..organizations).flat_map(|of| vec![candidate(of, Rank::New); 9]).collect();
        let (mut running, mut served, mut begun): (Vec<u8>, Served, Vec<u8>) = (vec![0; places], Served::new(), Vec::new());
        let mut without: Vec<Vec<u8>> = vec![Vec::new(); usize::from(organizations)];
        for end in ends {
            running.swap_remove(end.index(running.len()));
            let under_way = runs(&running.iter().map(|of| (*of, 1)).collect::<Vec<_>>());
            for at in turns(&waiting, &under_way, &served, Room::of(places)) {
                let of = u8::try_from(at / 9).unwrap();
                served.insert(organization(of), u64::try_from(begun.len()).unwrap() + 1);
                running.push(of);
                begun.push(of);
                for (one, meanwhile) in (0..organizations).zip(&mut without) {
                    match running.contains(&one) {
                        true => meanwhile.clear(),
                        false => {
                            prop_assert!(!meanwhile.contains(&of), "{} twice while {} has none: {:?}", of, one, begun);
                            meanwhile.push(of);
                        }
                    }
                }
            }
        }
    }
}
