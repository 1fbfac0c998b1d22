//! Probes of pods: short failures all the time, restarts, one real outage, a pod that dies, and a
//! deploy in planned maintenance.

use std::sync::Arc;

use super::chance::Chance;
use super::day::{BEGIN_US, Day, END_US, Known, LAST_US, MINUTE_US, SECOND_US, Said, Scene, Topic, at};
use crate::summary::grouped;

const SERVICES: [&str; 20] = [
    "checkout", "search", "cart", "login", "mail", "orders", "payment", "stock", "prices", "reviews", "images",
    "export", "invoice", "gateway", "sessions", "catalog", "shipping", "tax", "chat", "audit",
];
const PODS: usize = 10;
const AGENTS: usize = 8;
const EVERY_US: i64 = 10 * SECOND_US;
/// `hold_down` and `hold_open` of the configuration.
const HOLD_DOWN_US: i64 = 60 * SECOND_US;
const HOLD_OPEN_US: i64 = 30 * SECOND_US;
/// The deploy: how long its window is, and one pod after another.
const WINDOW_US: i64 = 30 * MINUTE_US;
const CRITICAL_POD: usize = 6;
const STUCK_POD: usize = 9;

/// A pod fails for a while.
#[derive(Clone, Copy)]
struct Outage {
    from_us: i64,
    to_us: i64,
    critical: bool,
}

pub(super) fn make(day: &mut Day, chance: &mut Chance) {
    let [down, deployed, dying] = chance.different(3, SERVICES.len())[..] else { return };
    let mut outages: Vec<Vec<Outage>> = vec![Vec::new(); SERVICES.len() * PODS];
    let keys: Vec<Arc<str>> = (0..outages.len()).map(key).collect();

    let from_us = at(9, 30) + chance.between(0, 40) * MINUTE_US;
    let to_us = from_us + chance.between(360, 540) * SECOND_US;
    for pod in 0..PODS {
        let outage = Outage {
            from_us: from_us + chance.between(0, 20) * SECOND_US,
            to_us: to_us + chance.between(0, 20) * SECOND_US,
            critical: false,
        };
        outages[down * PODS + pod].push(outage);
        fails(day, "an outage", &keys[down * PODS + pod], outage, None);
    }
    let minutes = (to_us - from_us) / MINUTE_US;
    day.scenes.push(Scene {
        topic: Topic::Probe,
        key: Arc::clone(&keys[down * PODS]),
        caption: "probes fail now and then; once for real",
        from_us: from_us - 15 * MINUTE_US,
        to_us: from_us + 20 * MINUTE_US,
    });

    let dead_us = at(10, 30) + chance.between(0, 30) * MINUTE_US;
    let dead = Outage { from_us: dead_us, to_us: dead_us + chance.between(150, 400) * SECOND_US, critical: false };
    let dead_pod = dying * PODS + chance.below(PODS);
    outages[dead_pod].push(dead);
    fails(day, "a pod that dies", &keys[dead_pod], dead, None);

    deploy(day, chance, &mut outages[deployed * PODS..][..PODS], &keys[deployed * PODS..][..PODS], SERVICES[deployed]);

    let mut blips = 0;
    for (index, outages) in outages.iter().enumerate() {
        blips += probe(day, chance, index, &keys[index], outages);
    }
    day.stories.insert(
        Topic::Probe,
        format!(
            "{} short failures; {} down for {minutes} min; {} is deployed, quietly",
            grouped(blips),
            SERVICES[down],
            SERVICES[deployed]
        ),
    );
}

fn key(index: usize) -> Arc<str> {
    format!("{}/pod-{}", SERVICES[index / PODS], index % PODS).into()
}

/// One pod after another fails within the window. Of these, one is critical and is told of at once;
/// one is still failing when the window ends, and is told of then.
fn deploy(day: &mut Day, chance: &mut Chance, outages: &mut [Vec<Outage>], keys: &[Arc<str>], service: &str) {
    let window_us = at(8, 30) + chance.between(0, 20) * MINUTE_US;
    let end_us = window_us + WINDOW_US;
    day.maintenance = (window_us, end_us, format!("{service}/*"));
    for pod in 0..PODS {
        let from_us = window_us + MINUTE_US + pod as i64 * 100 * SECOND_US + chance.between(0, 9) * SECOND_US;
        let to_us = match pod {
            STUCK_POD => end_us + 10 * MINUTE_US,
            _ => from_us + chance.between(180, 360) * SECOND_US,
        };
        let outage = Outage { from_us, to_us, critical: pod == CRITICAL_POD };
        outages[pod].push(outage);
        match pod {
            CRITICAL_POD => fails(day, "critical in maintenance", &keys[pod], outage, None),
            STUCK_POD => fails(day, "still failing after maintenance", &keys[pod], outage, Some(end_us)),
            _ => {}
        }
    }
}

/// The truth about an outage: it is told of, and so is its end.
fn fails(day: &mut Day, story: &'static str, key: &str, outage: Outage, not_before_us: Option<i64>) {
    let known = |state, from_us, hold_us| Known {
        story,
        topic: Topic::Probe,
        key,
        state,
        value: None,
        from_us,
        shown_us: EVERY_US,
        hold_us,
    };
    let hold_us = not_before_us.map_or(HOLD_DOWN_US, |until_us| until_us - outage.from_us);
    day.truth(known("failing", outage.from_us, hold_us));
    if let Some(truth) = day.truths.last_mut().filter(|_| outage.critical) {
        truth.severity = Some("critical");
    }
    day.truth(known("ok", outage.to_us, HOLD_OPEN_US));
}

/// Probes a pod all day; how often it fails for a short time.
fn probe(day: &mut Day, chance: &mut Chance, index: usize, key: &Arc<str>, outages: &[Outage]) -> u64 {
    let agent: Arc<str> = format!("/agent/node-{}", index % AGENTS).into();
    let mut time_us = BEGIN_US + chance.between(0, 9_999) * 1000;
    let (mut failing, mut well, mut blips) = (0, 0, 0);
    while time_us < END_US {
        let near = |outage: &&Outage| (outage.from_us - 2 * MINUTE_US..outage.to_us + 2 * MINUTE_US).contains(&time_us);
        let outage = outages.iter().find(near);
        let may_fail = failing == 0 && well > 1 && outage.is_none() && time_us < LAST_US;
        if may_fail && chance.per_mille(8) {
            // Mostly one or two probes; a restart takes four, which is still less than the hold-down.
            failing = if chance.per_mille(20) { 4 } else { chance.between(1, 2) };
            blips += 1;
        }
        let out = outage.filter(|outage| (outage.from_us..outage.to_us).contains(&time_us));
        let (state, data) = match out {
            Some(outage) if outage.critical => (1, format_args!(r#"{{"status":"down","severity":"critical"}}"#)),
            Some(_) => (1, format_args!(r#"{{"status":"down","severity":"error"}}"#)),
            None if failing > 0 && outage.is_none() => (1, format_args!(r#"{{"status":"down"}}"#)),
            None => (0, format_args!(r#"{{"status":"up"}}"#)),
        };
        day.say(Topic::Probe, &agent, key, time_us, &Said { state, level: state as f32, data });
        well = if state == 0 { well + 1 } else { 0 };
        failing = (failing - 1).max(0);
        time_us += EVERY_US;
    }
    blips
}
