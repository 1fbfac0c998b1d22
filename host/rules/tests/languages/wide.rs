//! What the layer of each language can do beyond the example: a rule of the test in each of them.

use std::collections::BTreeMap;

use crate::built::LANGUAGES;
use crate::{Given, answers, batch, load};

fn signal(what: &str, more: &[(&str, &str)]) -> Vec<Given> {
    let given = |&(path, value): &(&str, &str)| Given { path: path.to_owned(), value: value.to_owned() };
    [("data.what", what)].iter().chain(more).map(given).collect()
}

#[test]
fn every_language_reads_all_kinds_and_gives_all_answers() {
    let asked = [
        (signal("int", &[("data.count", "10")]), "0 0 `int` `many`"),
        (signal("int", &[("data.count", "9")]), "0 0 `int` `few`"),
        (signal("int", &[("data.count", "-4611686018427387904")]), "0 0 `int` `less than none`"),
        (signal("float", &[("data.load", "0.5")]), "1 1 `float` ``"),
        (signal("float", &[("data.load", "0.51")]), "1 3 `float` ``"),
        (signal("bool", &[("data.up", "true")]), "0 0 `bool` ``"),
        (signal("bool", &[("data.up", "false")]), "2 0 `bool` ``"),
        (signal("absent", &[]), "2 0 `absent` ``"),
        (signal("absent", &[("data.up", "false")]), "0 0 `absent` ``"),
        (signal("limit", &[]), "0 0 `zwölf` ``"),
        (signal("log", &[]), "0 0 `log` ``"),
        (signal("reasons", &[("data.count", "27")]), "outcome 2: reason BB"),
        (signal("reasons", &[("data.count", "25")]), "outcome 2: reason AZ"),
        (Vec::new(), "outcome 2: missing data.what"),
    ];
    let (signals, expected): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    for language in LANGUAGES {
        let rule = load(language, "wide");
        let settings = BTreeMap::from([("limit".to_owned(), "zwölf".to_owned())]);
        let mut instance = rule.mapper(&settings).unwrap();
        for _ in 0..3 {
            assert_eq!(answers(&mut instance, batch(&rule, &signals)), expected, "{language}");
        }
        let mut other = rule.mapper(&BTreeMap::new()).unwrap();
        assert_eq!(answers(&mut other, batch(&rule, &signals[9..10])), ["0 0 `no limit` ``"], "{language}");
        let unknown = BTreeMap::from([("colour".to_owned(), "red".to_owned())]);
        let refused = rule.mapper(&unknown).err().expect("refused").to_string();
        assert!(refused.contains("expected the setting `limit`"), "{language}: {refused}");
    }
}

/// The host reads at most 256 distinct reasons; what is beyond shares the last, and nothing fails.
#[test]
fn too_many_reasons_share_the_last() {
    let counts: Vec<String> = (0..300).map(|count: u32| count.to_string()).collect();
    let signals: Vec<_> = counts.iter().map(|count| signal("reasons", &[("data.count", count)])).collect();
    for language in LANGUAGES {
        let rule = load(language, "wide");
        let got = answers(&mut rule.mapper(&BTreeMap::new()).unwrap(), batch(&rule, &signals));
        assert_eq!(got[255], "outcome 2: reason JV", "{language}");
        assert_eq!(got[299], "outcome 2: reason JV", "{language}");
    }
}

#[test]
fn what_fails_names_the_line_and_costs_one_signal() {
    let failing = [
        ("c", "boom", "rule.c:50"),
        ("javascript", "boom", "boom"),
        ("javascript", "boom", "/rule.js:12"),
        ("javascript", "clock", "a rule has no clock"),
        ("javascript", "clock", "/rule.js:13"),
        ("javascript", "random", "a rule has no randomness"),
        ("javascript", "none such", "not a function"),
        ("python", "boom", "ValueError: boom"),
        ("python", "boom", "rule.py:27"),
        ("python", "clock", "a rule has no clock"),
        ("python", "clock", "rule.py:29"),
        ("python", "random", "a rule has no randomness"),
        ("python", "none such", "map must return"),
    ];
    for (language, what, said) in failing {
        let rule = load(language, "wide");
        let signals = [signal("log", &[]), signal(what, &[]), signal("limit", &[])];
        let mut instance = rule.mapper(&BTreeMap::new()).unwrap();
        let got = answers(&mut instance, batch(&rule, &signals));
        assert_eq!([&got[0], &got[2]], ["0 0 `log` ``", "0 0 `no limit` ``"], "{language}");
        assert!(got[1].starts_with("outcome 3") && got[1].contains(said), "{language}, {what}: {}", got[1]);
    }
}
