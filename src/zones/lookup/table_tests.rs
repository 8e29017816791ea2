use super::*;

fn name(text: &str) -> Name {
    Name::presented(text).unwrap_or_else(|_| Name::root())
}

fn has(values: &[&str]) -> Said {
    let mut values: Vec<Data> = values.iter().map(|v| Data::Txt(v.as_bytes().to_vec())).collect();
    values.sort_unstable();
    Said::Values { values, ttl: 60 }
}

fn silent() -> Said {
    Said::Nothing("no answer in time".into())
}

fn alias(target: &str) -> Said {
    Said::Values { values: vec![Data::Cname(name(target))], ttl: 60 }
}

fn answers(said: Vec<Said>) -> Answers {
    let address = SocketAddr::from(([192, 0, 2, 53], 53));
    let heard = |answer| Heard { host: "ns.example.com".into(), address, answer };
    Answers { servers: said.into_iter().map(heard).collect(), trouble: None }
}

#[test]
fn what_follows_from_the_table() {
    // What each server said; whether all have the value, none has it, or neither.
    for (said, wanted) in [
        (vec![], "undecided"),
        (vec![silent(), silent()], "undecided"),
        (vec![has(&["v"])], "all"),
        (vec![has(&["other", "v"]), has(&["v"])], "all"),
        (vec![has(&["v"]), silent()], "all"),
        (vec![has(&["v"]), has(&["other"])], "undecided"),
        (vec![has(&["v"]), Said::NoData], "undecided"),
        (vec![has(&["v"]), Said::NoName, silent()], "undecided"),
        (vec![Said::NoName], "none"),
        (vec![Said::NoData, Said::NoName], "none"),
        (vec![has(&["V"]), Said::NoName, silent()], "none"),
        (vec![alias("other.example")], "none"),
    ] {
        let table = answers(said);
        let value = Data::Txt(b"v".to_vec());
        let told = match (table.all_have(&value), table.none_has(&value), table.undecided(&value)) {
            (true, false, false) => "all",
            (false, true, false) => "none",
            (false, false, true) => "undecided",
            _ => "several at once",
        };
        assert_eq!(told, wanted, "{table:?}");
    }
    let all = answers(vec![has(&["b", "a"]), silent(), has(&["a", "c"])]).values();
    assert_eq!(all, ["a", "b", "c"].map(|v| Data::Txt(v.into())));
}

#[test]
fn an_alias_is_followed_where_all_that_answered_agree() {
    let txt = RecordType::Txt;
    assert_eq!(answers(vec![alias("a.example"), silent(), alias("a.example")]).alias(txt), Some(name("a.example")));
    for differ in
        [vec![alias("a.example"), alias("b.example")], vec![alias("a.example"), Said::NoData], vec![silent()], vec![]]
    {
        assert_eq!(answers(differ.clone()).alias(txt), None, "{differ:?}");
    }
    assert_eq!(answers(vec![alias("a.example")]).alias(RecordType::Cname), None, "who asks for it wants it");
}

#[test]
fn an_alias_that_is_not_followed_is_no_answer() {
    let value = Data::Txt(b"v".to_vec());
    // Who tells of an alias tells nothing; what the others say stands.
    let told = answers(vec![alias("elsewhere.example.net"), Said::NoName]).without_aliases(RecordType::Txt);
    assert!(told.none_has(&value), "the one that answered has it not: {told:?}");
    assert!(
        matches!(told.servers.first().map(|heard| &heard.answer), Some(Said::Nothing(why)) if why.contains("elsewhere.example.net"))
    );
    let told = answers(vec![alias("a.example.net"), alias("b.example.net")]).without_aliases(RecordType::Txt);
    assert!(told.undecided(&value) && !told.answered());
    let told = answers(vec![alias("a.example.net")]).without_aliases(RecordType::Cname);
    assert!(told.answered(), "who asks for the alias has its answer");
}
