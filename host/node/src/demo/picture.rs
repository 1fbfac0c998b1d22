//! Raw beside distilled: what an entity said, and what was told of it, over the same time.

use serde_json::Value;

use super::day::{Day, SECOND_US, Scene, clock};
use super::truth::time_us;

/// How many columns the time has.
const COLUMNS: usize = 64;
/// From all well to all bad.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A scene in four lines: caption, raw, distilled, and the times of what was told.
pub fn lines(scene: &Scene, day: &Day, events: &[Value]) -> [String; 4] {
    let told: Vec<(i64, &str)> = events.iter().filter_map(|event| told(scene, event)).collect();
    let minutes = (scene.to_us - scene.from_us) / (60 * SECOND_US);
    let span = format!("{minutes} min from {}", &clock(scene.from_us)[..5]);
    [
        format!("  {}: {} ({span})", scene.key, scene.caption),
        format!("    raw        {}", raw(scene, day)),
        format!("    distilled  {}", distilled(scene, &told)),
        format!("               {}", times(scene, &told)),
    ]
}

/// When an event of the scene was told, and what it says.
fn told<'a>(scene: &Scene, event: &'a Value) -> Option<(i64, &'a str)> {
    let says = match event["type"].as_str()? {
        "stillhouse.state.changed" => event["data"]["to"]["state"].as_str()?,
        "stillhouse.flapping.started" => "flapping",
        "stillhouse.flapping.stopped" => "stable again",
        _ => return None,
    };
    let here = event["subject"] == *scene.key && event["data"]["signal"] == scene.topic.name();
    here.then_some((time_us(&event["time"])?, says))
}

/// The mean of what was said in each column; a column in which nothing was said is like the last.
fn raw(scene: &Scene, day: &Day) -> String {
    let mut sums = [(0.0_f32, 0_u32); COLUMNS];
    let of_scene = |signal: &&super::day::Signal| signal.topic == Some(scene.topic) && signal.key == scene.key;
    for signal in day.signals.iter().filter(of_scene) {
        let at = (signal.time_us - scene.from_us) * COLUMNS as i64 / (scene.to_us - scene.from_us);
        if let Some(sum) = usize::try_from(at).ok().and_then(|column| sums.get_mut(column)) {
            *sum = (sum.0 + signal.level, sum.1 + 1);
        }
    }
    let mut block = BLOCKS[0];
    let column = |(sum, count): (f32, u32)| {
        if count > 0 {
            block = BLOCKS[((sum / count as f32 * 8.0) as usize).min(7)];
        }
        block
    };
    sums.into_iter().map(column).collect()
}

/// What a consumer of the distilled events knows in each column.
fn distilled(scene: &Scene, told: &[(i64, &str)]) -> String {
    let known = |column: usize| {
        let end_us = scene.from_us + (scene.to_us - scene.from_us) * (column as i64 + 1) / COLUMNS as i64;
        match told.iter().rev().find(|(time_us, _)| *time_us < end_us) {
            None | Some((_, "ok" | "normal" | "led" | "stable again")) => '▁',
            Some((_, "flapping")) => '▒',
            Some(_) => '█',
        }
    };
    (0..COLUMNS).map(known).collect()
}

fn times(scene: &Scene, told: &[(i64, &str)]) -> String {
    let shown = told.iter().filter(|(time_us, _)| (scene.from_us..scene.to_us).contains(time_us));
    let shown: Vec<String> = shown.map(|(time_us, says)| format!("{} {says}", clock(*time_us))).collect();
    shown.join(", ")
}
