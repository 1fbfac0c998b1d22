//! Links of switches, which tell of changes and are asked once a minute: short drops, a link that
//! flaps for two minutes, and one that is cut.

use std::sync::Arc;

use stillhouse_core::event::Time;

use super::chance::Chance;
use super::day::{BEGIN_US, Day, END_US, Known, LAST_US, MINUTE_US, SECOND_US, Said, Scene, Topic, at};
use super::truth::Truth;

const SWITCHES: usize = 4;
const PORTS: usize = 12;
/// `hold_down` of the configuration.
const HOLD_US: i64 = 10 * SECOND_US;
/// `flapping.quiet`, and what a question that comes meanwhile adds.
const QUIET_MAX_US: i64 = 2 * MINUTE_US;

pub(super) fn make(day: &mut Day, chance: &mut Chance) {
    let [flapping, cut] = chance.different(2, SWITCHES * PORTS)[..] else { return };
    let mut drops = 0;
    let mut minutes = 0;
    for index in 0..SWITCHES * PORTS {
        let key = key(index);
        let down = if index == flapping {
            flap(day, chance, &key)
        } else if index == cut {
            let from_us = at(10, 0) + chance.between(0, 60) * MINUTE_US;
            let to_us = from_us + chance.between(720, 1500) * SECOND_US;
            minutes = (to_us - from_us) / MINUTE_US;
            for (state, from_us, hold_us) in [("failing", from_us, HOLD_US), ("ok", to_us, HOLD_US)] {
                let topic = Topic::Link;
                let known =
                    Known { story: "a cut link", topic, key: &key, state, value: None, from_us, shown_us: 0, hold_us };
                day.truth(known);
            }
            vec![(from_us, to_us)]
        } else {
            let short = short_drops(chance);
            drops += short.len();
            short
        };
        report(day, chance, index, &key, &down);
    }
    let story = format!("{drops} short drops; {} flaps; {} is cut for {minutes} min", key(flapping), key(cut));
    day.stories.insert(Topic::Link, story);
}

fn key(index: usize) -> Arc<str> {
    format!("leaf-{}/eth-{}", index / PORTS + 1, index % PORTS + 1).into()
}

/// Up again within seconds.
fn short_drops(chance: &mut Chance) -> Vec<(i64, i64)> {
    let mut drops = Vec::new();
    let mut time_us = BEGIN_US + MINUTE_US;
    loop {
        time_us += chance.between(600, 7200) * SECOND_US;
        if time_us > LAST_US {
            return drops;
        }
        drops.push((time_us, time_us + chance.between(500, 6000) * 1000));
    }
}

/// Down and up for two minutes; this is told of twice: that it flaps, and that it no longer does.
fn flap(day: &mut Day, chance: &mut Chance, key: &Arc<str>) -> Vec<(i64, i64)> {
    let from_us = at(9, 0) + chance.between(0, 60) * MINUTE_US;
    let mut down = Vec::new();
    let mut time_us = from_us;
    while time_us < from_us + 2 * MINUTE_US {
        let up_us = time_us + chance.between(1500, 5000) * 1000;
        down.push((time_us, up_us));
        time_us = up_us + chance.between(1500, 5000) * 1000;
    }
    let end_us = down.last().map_or(from_us, |(_, up_us)| *up_us);
    for (kind, state, by_us) in [
        ("stillhouse.flapping.started", None, from_us + MINUTE_US),
        ("stillhouse.flapping.stopped", Some("ok"), end_us + QUIET_MAX_US),
    ] {
        day.truths.push(Truth {
            story: "a flapping link",
            signal: Topic::Link.name(),
            subject: (&**key).into(),
            kind,
            state,
            value: None,
            severity: None,
            since_from: Time(from_us),
            since_to: Time(from_us + MINUTE_US),
            told_by: Time(by_us),
        });
    }
    day.scenes.push(Scene {
        topic: Topic::Link,
        key: Arc::clone(key),
        caption: "a link goes down and up for two minutes",
        from_us: from_us - 90 * SECOND_US,
        to_us: from_us + 270 * SECOND_US,
    });
    down
}

fn report(day: &mut Day, chance: &mut Chance, index: usize, key: &Arc<str>, down: &[(i64, i64)]) {
    let source: Arc<str> = format!("/switch/leaf-{}", index / PORTS + 1).into();
    let mut said: Vec<(i64, bool)> = down.iter().flat_map(|(from, to)| [(*from, false), (*to, true)]).collect();
    let mut time_us = BEGIN_US + chance.between(0, 59_999) * 1000;
    while time_us < END_US {
        said.push((time_us, !down.iter().any(|(from_us, to_us)| (*from_us..*to_us).contains(&time_us))));
        time_us += MINUTE_US;
    }
    for (time_us, up) in said {
        let (state, word) = if up { (0, "up") } else { (1, "down") };
        let data = format_args!(r#"{{"status":"{word}"}}"#);
        day.say(Topic::Link, &source, key, time_us, &Said { state, level: state as f32, data });
    }
}
