//! Load of hosts: spikes of a minute at most, and one load that lasts.

use std::sync::Arc;

use super::chance::Chance;
use super::day::{BEGIN_US, Day, END_US, Known, LAST_US, MINUTE_US, SECOND_US, Said, Scene, Topic, at};

const HOSTS: usize = 24;
const EVERY_US: i64 = 10 * SECOND_US;
/// `over` of the configuration.
const OVER: f64 = 85.0;
/// `hold_down` and `hold_open` of the configuration.
const HOLD_DOWN_US: i64 = 2 * MINUTE_US;
const HOLD_OPEN_US: i64 = MINUTE_US;

pub(super) fn make(day: &mut Day, chance: &mut Chance) {
    let busy = chance.below(HOSTS);
    let from_us = at(9, 20) + chance.between(0, 60) * MINUTE_US;
    let to_us = from_us + chance.between(1200, 1800) * SECOND_US;
    let mut spikes = 0;
    for host in 0..HOSTS {
        let key = key(host);
        let lasting = (host == busy).then_some((from_us, to_us));
        spikes += measure(day, chance, &key, lasting);
    }
    let key = key(busy);
    for (state, from_us, hold_us) in [("high", from_us, HOLD_DOWN_US), ("normal", to_us, HOLD_OPEN_US)] {
        let (topic, shown_us) = (Topic::Load, EVERY_US);
        day.truth(Known {
            story: "a load that lasts",
            topic,
            key: &key,
            state,
            value: None,
            from_us,
            shown_us,
            hold_us,
        });
    }
    let story = format!("{spikes} spikes; {key} is busy for {} min", (to_us - from_us) / MINUTE_US);
    day.stories.insert(Topic::Load, story);
    day.scenes.push(Scene {
        topic: Topic::Load,
        key,
        caption: "spikes, and a load that lasts",
        from_us: from_us - 30 * MINUTE_US,
        to_us: from_us + 60 * MINUTE_US,
    });
}

fn key(host: usize) -> Arc<str> {
    format!("host-{}/cpu", host + 1).into()
}

/// Measures a host all day; how many spikes there were.
fn measure(day: &mut Day, chance: &mut Chance, key: &Arc<str>, lasting: Option<(i64, i64)>) -> u64 {
    let source: Arc<str> = "/metrics/collector".into();
    let mut time_us = BEGIN_US + chance.between(0, 9_999) * 1000;
    // In tenths of a percent.
    let mut usual = chance.between(250, 550);
    let (mut spiking, mut calm, mut spikes) = (0, 0, 0);
    while time_us < END_US {
        usual = (usual + chance.between(-20, 20)).clamp(150, 600);
        let near = lasting.filter(|(from_us, to_us)| (from_us - MINUTE_US..to_us + 3 * MINUTE_US).contains(&time_us));
        let busy = near.filter(|(from_us, to_us)| (*from_us..*to_us).contains(&time_us));
        let may_spike = spiking == 0 && calm > 1 && near.is_none() && time_us < LAST_US;
        if may_spike && chance.per_mille(10) {
            spiking = chance.between(1, 6);
            spikes += 1;
        }
        let tenths = match busy {
            Some((from_us, _)) => under_load(chance, time_us - from_us),
            None if spiking > 0 && near.is_none() => chance.between(860, 995),
            // Between the bounds, where the rule says nothing.
            None if near.is_none() && calm > 1 && chance.per_mille(15) => chance.between(710, 840),
            None => usual,
        };
        let value = tenths as f64 / 10.0;
        let data = format_args!(r#"{{"value":{value}}}"#);
        let said = Said { state: u32::from(value >= OVER), level: (value / 100.0) as f32, data };
        day.say(Topic::Load, &source, key, time_us, &said);
        calm = if tenths == usual { calm + 1 } else { 0 };
        spiking = (spiking - 1).max(0);
        time_us += EVERY_US;
    }
    spikes
}

/// High for some minutes; from then on with dips, which are too short to be its end.
fn under_load(chance: &mut Chance, since_us: i64) -> i64 {
    match since_us > 4 * MINUTE_US {
        true if chance.per_mille(40) => chance.between(720, 840),
        true if chance.per_mille(20) => chance.between(450, 650),
        _ => chance.between(870, 980),
    }
}
