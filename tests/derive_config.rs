//! What is derived, as a configuration says it: what is refused, and what is understood.

use std::path::Path;

use stillhouse::config::{Config, Overrides};
use stillhouse_core::derive::{By, DerivePlan};

use crate::plans::type_plan;

const SIGNAL: &str = "[[input]]\nformat = \"cloudevents\"\n[signal.\"a.b\"]\nmapper = \"status\"\n";

fn parse(lines: &str) -> Result<Config, String> {
    let text = format!("{SIGNAL}{lines}");
    Config::parse(Path::new("x.toml"), text, &Overrides::default()).map_err(|error| error.to_string())
}

/// Refused at this line, with all of these words.
fn refused(lines: &str, line: usize, words: &[&str]) {
    let refusal = match parse(lines).map(|config| plan(&config)) {
        Err(refusal) => refusal,
        Ok(Err(refusal)) => refusal,
        Ok(Ok(_)) => panic!("accepted:\n{lines}"),
    };
    let line = 4 + line;
    assert!(refusal.starts_with(&format!("x.toml:{line}:")), "expected line {line}: {refusal}\n{lines}");
    words.iter().for_each(|word| assert!(refusal.contains(word), "no `{word}` in: {refusal}"));
}

fn plan(config: &Config) -> Result<DerivePlan, String> {
    config.derive.plan(&[type_plan("a.b")]).map_err(|refusal| config.error(refusal).to_string())
}

#[test]
fn incidents_are_understood() {
    let lines = "[incident.outage]\nsignals = [\"a.b\"]\nby = \"table.topology.service\"\nmin_severity = \"error\"\n\
                 open_after = \"1s\"\nresolve_after = \"2s\"\nupdate_every = \"3s\"\nmembers_max = 4\n[incident.all]\n\
                 [table.topology]\nfile = \"topology.csv\"\nkey = \"node\"\n";
    let plan = plan(&parse(lines).expect("it is sound")).expect("it is sound");
    let [all, outage] = plan.incidents.as_slice() else { panic!("two, by name") };
    assert_eq!((&all.by, all.signals.len(), all.members_max), (&By::Key, 0, 50));
    let durations =
        |of: &stillhouse_core::derive::IncidentPlan| (of.open_after_us, of.resolve_after_us, of.update_every_us);
    assert_eq!(durations(all), (0, 300_000_000, 60_000_000));
    assert_eq!(durations(outage), (1_000_000, 2_000_000, 3_000_000));
    assert_eq!((outage.min_severity, outage.members_max), (2, 4));
    assert_eq!(outage.by, By::Table { name: "topology".into(), column: "service".into() });
}

#[test]
fn incidents_that_make_no_sense_are_refused() {
    refused("[incident.x]\nsignals = [\"a.c\"]\n", 2, &["no signal type `a.c`", "did you mean `a.b`?"]);
    refused("[incident.x]\nsignals = []\n", 2, &["`signals` names none"]);
    refused("[incident.x]\nby = \"table.topology.site\"\n", 2, &["no `[table.topology]`", "there is none"]);
    refused("[incident.x]\nby = \"kye\"\n", 2, &["expected `key`", "`kye`", "did you mean `key`?"]);
    for by in ["prefix:", "table.x", "table..x"] {
        refused(&format!("[incident.x]\nby = \"{by}\"\n"), 2, &["`table.TABLE.COLUMN`", by]);
    }
    refused("[incident.x]\nmembers_max = 0\n", 2, &["from 1 to 1000"]);
    refused("[incident.x]\nresolve_afte = \"5m\"\n", 2, &["did you mean `resolve_after`?"]);
    refused("[incident.x]\nmin_severity = \"eror\"\n", 2, &["did you mean `error`?"]);
}

#[test]
fn objectives_are_understood() {
    let lines = "[objective.x]\nsignal = \"a.b\"\ntarget = 99.95\nburn = [\n\
                 { over = 14.4, long = \"1h\", short = \"5m\", severity = \"critical\" },\n\
                 { over = 6, long = \"6h\", short = \"30m\", severity = \"critical\" },\n\
                 { over = 1, long = \"3d\", short = \"6h\", severity = \"warning\" },\n]\n";
    let plan = plan(&parse(lines).expect("it is sound")).expect("it is sound");
    let objective = &plan.objectives[0];
    assert_eq!((objective.target_ppm, objective.every_us, &objective.by), (999_500, 300_000_000, &By::All));
    let burns: Vec<_> = objective
        .burns
        .iter()
        .map(|burn| (burn.over_milli, burn.long_panes, burn.short_panes, burn.severity))
        .collect();
    assert_eq!(burns, [(14_400, 12, 1, 3), (6_000, 72, 6, 3), (1_000, 864, 72, 1)]);
}

#[test]
fn objectives_that_make_no_sense_are_refused() {
    let with = |rest: &str| format!("[objective.x]\nsignal = \"a.b\"\n{rest}\n");
    for target in ["0", "100", "100.5", "-1", "99.99999"] {
        refused(&with(&format!("target = {target}")), 3, &["below 100 percent"]);
    }
    refused("[objective.x]\nsignal = \"a\"\ntarget = 99\n", 2, &["no signal type `a`", "`a.b`"]);
    refused(&with("target = 99\nevery = \"0s\""), 4, &["more than 0"]);
    let burn = |rest: &str| with(&format!("target = 99\nburn = [{{ severity = \"error\", {rest} }}]"));
    refused(&burn("over = 100, long = \"1h\", short = \"5m\""), 4, &["below 100", "if all is bad"]);
    refused(&burn("over = 0, long = \"1h\", short = \"5m\""), 4, &["above 0"]);
    refused(&burn("over = 2, long = \"1h\", short = \"7m\""), 4, &["multiples of `every`"]);
    refused(&burn("over = 2, long = \"5m\", short = \"1h\""), 4, &["the other way round"]);
    refused(&burn("over = 2, long = \"40d\", short = \"5m\""), 4, &["raise `every`"]);
    let one = "{ over = 2, long = \"1h\", short = \"5m\", severity = \"error\" }";
    refused(&with(&format!("target = 99\nburn = [{one}, {one}]")), 4, &["stand here twice"]);
}

#[test]
fn triggers_are_understood() {
    let lines = "[trigger.x]\non = \"state.changed\"\nsignals = [\"a.b\"]\nto = [\"down\", \"clear\"]\nkey = \"db-*\"\n\
                 action = \"restart\"\nparams = { grace = 30, force = true }\nrate = { max = 2, per = \"1h\" }\n\
                 bootstrap = \"10m\"\n\
                 breaker = { repeat_max = 3, repeat_within = \"1h\", open_for = \"2h\", close_after = \"3h\" }\n";
    let plan = plan(&parse(lines).expect("it is sound")).expect("it is sound");
    let trigger = &plan.triggers[0];
    assert_eq!((&*trigger.on, trigger.of.len(), trigger.to.len()), ("state.changed", 1, 2));
    assert!(trigger.key.as_ref().is_some_and(|key| key.matches("db-1") && !key.matches("web-1")));
    let params: Vec<_> = trigger.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(params, ["force=true", "grace=30"]);
    let rate = trigger.rate.expect("a rate");
    assert_eq!((rate.max, rate.per_us, trigger.bootstrap_us), (2, 3_600_000_000, 600_000_000));
    let breaker = trigger.breaker.expect("a breaker");
    assert_eq!((breaker.repeat_max, breaker.open_for_us, breaker.close_after_us), (3, 7_200_000_000, 10_800_000_000));
}

#[test]
fn triggers_that_make_no_sense_are_refused() {
    let with = |rest: &str| format!("[trigger.x]\naction = \"restart\"\n{rest}\n");
    refused(&with("on = \"state.change\""), 3, &["no kind of event", "did you mean `state.changed`?"]);
    refused(&with("on = \"state.changed\"\nto = [\"dwn\"]"), 4, &["no state `dwn`", "did you mean `down`?"]);
    refused(&with("on = \"state.changed\"\nsignals = [\"a\"]"), 4, &["no signal type `a`"]);
    refused(&with("on = \"incident.opened\"\nincidents = [\"y\"]"), 4, &["no incident `y`", "there is none"]);
    refused(&with("on = \"burn.started\"\nsignals = [\"a.b\"]"), 4, &["`signals` says nothing of", "burn.started"]);
    refused(&with("on = \"flapping.started\"\nto = [\"down\"]"), 4, &["`to` says nothing of"]);
    refused(&with("on = \"state.changed\"\nto = []"), 4, &["`to` names none"]);
    refused(&with("on = \"state.changed\"\nsignals = []"), 4, &["`signals` names none"]);
    refused(&with("on = \"burn.started\""), 3, &["no `[objective.NAME]`", "never happens"]);
    refused(&with("on = \"state.changed\"\nkey = \"***\""), 4, &["not a pattern"]);
    refused(&with("on = \"state.changed\"\nrate = { max = 0, per = \"1h\" }"), 4, &["`max` from 1 to 10000"]);
    refused(&with("on = \"state.changed\"\nrate = { max = 1, per = \"0s\" }"), 4, &["`per` must be more than 0"]);
    let breaker = "{ repeat_max = 3, repeat_within = \"1h\", open_for = \"0s\", close_after = \"3h\" }";
    refused(&with(&format!("on = \"state.changed\"\nbreaker = {breaker}")), 4, &["`open_for` must be more than 0"]);
    refused("[trigger.x]\naction = \"\"\non = \"state.changed\"\n", 2, &["`action` is empty"]);
}
