//! What a configuration was written for is checked before anything is run.

use std::path::Path;

use stillhouse::config::{Config, Overrides, pin};
use stillhouse::rules::{RuleSet, engine};

const INPUT: &str = "[[input]]\nformat = \"cloudevents\"\n";

fn load(toml: &str) -> Result<(Config, RuleSet), String> {
    let config =
        Config::parse(Path::new("x.toml"), toml.into(), &Overrides::default()).map_err(|error| error.to_string())?;
    let rules = RuleSet::load(&config, &engine(8).unwrap()).map_err(|error| error.to_string())?;
    Ok((config, rules))
}

#[test]
fn a_mapper_with_other_states_is_refused() {
    let with = |lines: &str| load(&format!("{INPUT}[signal.t]\nmapper = \"status\"\n{lines}\n"));
    for lines in
        ["", "schema = 1", "states = [\"gone\", \"ok\"]", "schema = 1\nstates = [\"ok\", \"failing\", \"gone\"]"]
    {
        assert!(with(lines).is_ok(), "{lines}");
    }
    let refused = |lines: &str, place: &str, words: &[&str]| {
        let refusal = with(lines).unwrap_err();
        assert!(refusal.starts_with(place), "{place}: {refusal}");
        words.iter().for_each(|word| assert!(refusal.contains(word), "no `{word}` in: {refusal}"));
    };
    refused("schema = 2", "x.toml:5:10: ", &["version 1 of its states", "for version 2", "`ok`, `failing`, `gone`"]);
    let both = "schema = 2\nstates = [\"ok\", \"failing\", \"unknown\"]";
    refused(both, "x.toml:5:10: ", &["no longer has `unknown`", "has besides `gone`"]);
    refused(
        "states = [\"ok\", \"unknown\"]",
        "x.toml:5:10: ",
        &["no longer has `unknown`", "besides `failing`, `gone`"],
    );
}

#[test]
fn a_field_that_no_pattern_gives_is_told() {
    let time = "(?P<time>\\S+)";
    let pattern = |groups: &str| format!("[[input.pattern]]\ntype = \"t\"\nregex = '^{time} {groups}'\n");
    let text = |patterns: &str| format!("[[input]]\nformat = \"text\"\n{patterns}");
    let told = |inputs: &str| {
        let (config, rules) = load(&format!("{inputs}[signal.t]\nmapper = \"status\"\n")).unwrap();
        let fields = rules.fields(&config);
        pin::never_given(&config, &fields).into_iter().map(|(_, path)| path.to_owned()).collect::<Vec<_>>()
    };
    let status = pattern("(?P<status>.)(?P<severity>.)");
    assert_eq!(told(&text(&status)), ["subject", "data.detail"]);
    let both = format!("{status}{}", pattern("(?P<subject>.)(?P<detail>.)"));
    assert_eq!(told(&text(&both)), [""; 0], "what one of the patterns gives is given");
    assert_eq!(told(&format!("{}{INPUT}", text(&status))), [""; 0], "what is in JSON is not known");
}
