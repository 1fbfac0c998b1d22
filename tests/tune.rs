//! Tuning on a made-up past whose best hold-down is known.

use std::fmt::Write;
use std::path::Path;

use stillhouse::config::{Config, Overrides};
use stillhouse::input::Input;
use stillhouse::run::Unwatched;
use stillhouse::score::truth::Truth;
use stillhouse::tune::front::{knee, pareto};
use stillhouse::tune::grid::{Flapping, Grid, Point};
use stillhouse::tune::table::Choice;
use stillhouse::tune::{Measured, Past, picture};

use crate::drive::OPTIONS;

const S_US: i64 = 1_000_000;

const CONFIG: &str = r#"
[[input]]
format = "text"
time = { format = "unix" }
[[input.pattern]]
type = "probe"
regex = '^(?P<time>\d+) (?P<subject>\S+) (?P<status>\S+)$'

[signal.probe]
mapper = "status"
hold_down = "45s"
"#;

/// A day with a blip of 8 seconds every 10 minutes and four outages of 20 minutes, and the truth.
fn past(folder: &Path, config: &str) -> (Past, Vec<Truth>) {
    let (mut lines, mut truth) = (String::from("0 web up\n"), String::new());
    for minute in (10..1440).step_by(10) {
        let from = minute * 60;
        let outage = minute % 360 == 180;
        let to = from + if outage { 1200 } else { 8 };
        if minute % 360 == 190 {
            continue;
        }
        writeln!(lines, "{from} web down\n{to} web up").expect("a string takes all");
        if outage {
            let at = |seconds: i64| format!("1970-01-01T{:02}:{:02}:00Z", seconds / 3600, seconds / 60 % 60);
            writeln!(truth, "{{\"subject\":\"web\",\"from\":\"{}\",\"to\":\"{}\"}}", at(from), at(to)).expect("text");
        }
    }
    let file = folder.join("day.log");
    std::fs::write(&file, lines).expect("a file");
    let config = Config::parse(Path::new("x.toml"), config.into(), &Overrides::default());
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let past = Past::read(&config, &[Input::File(file)], &OPTIONS, &mut Unwatched);
    (past.unwrap_or_else(|error| panic!("{error:#}")), Truth::parse(&truth, "truth").expect("a truth"))
}

fn seconds(list: &[i64]) -> Vec<i64> {
    list.iter().map(|seconds| seconds * S_US).collect()
}

fn measure(past: &Past, truths: &[Truth]) -> Vec<Measured> {
    let grid = Grid::new(&past.plan, &seconds(&[0, 5, 10, 30, 300]), &seconds(&[0, 30])).expect("a grid");
    past.measure(&grid, truths, &|| ()).remove(0)
}

fn at(measured: &[Measured], down: i64, open: i64) -> &Measured {
    let point = Point { hold_down_us: down * S_US, hold_open_us: open * S_US, flapping: Flapping::Configured };
    measured.iter().find(|measured| measured.point == point).expect("the point is tried")
}

#[test]
fn the_knee_is_the_hold_that_absorbs_the_blips() {
    let folder = tempfile::tempdir().expect("a folder");
    let (past, _) = past(folder.path(), CONFIG);
    let measured = measure(&past, &[]);
    // 5 hold-downs and 2 hold-opens, and what is configured.
    assert_eq!(measured.len(), 11);
    let raw = at(&measured, 0, 0);
    assert_eq!((raw.problems, raw.events, raw.blips, raw.told), (139, 278, 0, Some(1.0)));
    let held = at(&measured, 10, 0);
    assert_eq!((held.problems, held.events), (4, 8));
    assert_eq!((held.raise_us, held.clear_us), (10 * S_US, 0));
    assert!(held.blips > 100, "{held:?}");
    let front = pareto(&measured);
    assert_eq!(measured[front[0]].point.hold_down_us, 0);
    let suggested = measured[knee(&measured, &front).expect("a knee")].point;
    assert_eq!((suggested.hold_down_us, suggested.hold_open_us), (10 * S_US, 0));
}

#[test]
fn with_a_truth_the_best_balance_is_suggested() {
    let folder = tempfile::tempdir().expect("a folder");
    let (past, truths) = past(folder.path(), CONFIG);
    assert_eq!(truths.len(), 4);
    let measured = measure(&past, &truths);
    let raw = at(&measured, 0, 0).against.expect("a truth");
    // Four blips begin at the end of an outage, which still belongs to it.
    assert_eq!((raw.hit, raw.missed, raw.wrong), (4, 0, 131));
    let best = at(&measured, 10, 0).against.expect("a truth");
    assert_eq!((best.hit, best.missed, best.wrong, best.f1()), (4, 0, 0, 1.0));
    let front = pareto(&measured);
    let knee = knee(&measured, &front);
    assert_eq!(measured[knee.expect("one")].point.hold_down_us, 10 * S_US);

    let configured = Point::configured(&past.plan.types[0]);
    let choice = Choice { name: "probe", measured: &measured, front: &front, knee, configured };
    let table = choice.table(stillhouse::demo::report::Paint(false));
    assert!(table.lines().any(|line| line.trim_start().starts_with("10s") && line.ends_with("suggested")), "{table}");
    assert!(table.lines().any(|line| line.trim_start().starts_with("45s") && line.contains("configured")), "{table}");
    let snippet = choice.snippet().expect("a suggestion");
    assert_eq!(snippet, "[signal.\"probe\"]\nhold_down = \"10s\"\nhold_open = \"0s\"\n");
    let pasted = CONFIG.replace("hold_down = \"45s\"", "").replace("[signal.probe]", &snippet);
    Config::parse(Path::new("x.toml"), pasted, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
    let svg = picture::svg(&[choice]).expect("a picture");
    assert!(svg.contains("suggested: 10s / 0s") && svg.contains("configured: 45s / 0s"), "{svg}");
}

#[test]
fn thresholds_are_tried_where_flapping_is_configured() {
    let folder = tempfile::tempdir().expect("a folder");
    let flapping = format!("{CONFIG}[signal.probe.flapping]\nhigh = 50\nlow = 25\n");
    let (past, _) = past(folder.path(), &flapping);
    let measured = measure(&past, &[]);
    assert_eq!(measured.len(), 5 * 2 * 3 + 1);
    let flaps = |flapping| measured.iter().filter(|m| m.point.flapping == flapping).map(|m| m.flaps).max();
    // The status changes with every line: whatever the threshold, it flaps once and never stops.
    assert_eq!((flaps(Flapping::Configured), flaps(Flapping::Thresholds(70, 35))), (Some(1), Some(1)));
}

#[test]
fn a_grid_is_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let (past, _) = past(folder.path(), CONFIG);
    let many: Vec<i64> = (0..40).collect();
    let refusal = Grid::new(&past.plan, &many, &many).unwrap_err().to_string();
    assert!(refusal.contains("1601 points are too many") && refusal.contains("--hold-down"), "{refusal}");
}
