//! A score as a picture (SVG): a time line for each entity, with the windows of the truth and the
//! events that hit them, and those that are false.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::table::cut;
use super::told::Told;
use super::truth::Truth;
use super::{Fate, Score};

/// How many entities are shown; those with most to see come first.
pub const LANES_MAX: usize = 60;

const WIDTH: i32 = 1400;
const LEFT: i32 = 300;
const RIGHT: i32 = 24;
const TOP: i32 = 64;
const LANE: i32 = 26;
const BOTTOM: i32 = 40;

const WINDOW: RGBColor = RGBColor(245, 190, 100);
const MISSED: RGBColor = RGBColor(200, 60, 50);
const HIT: RGBColor = RGBColor(30, 130, 70);
const REPEAT: RGBColor = RGBColor(120, 150, 130);
const INK: RGBColor = RGBColor(60, 60, 60);
const RULE: RGBColor = RGBColor(225, 225, 225);

/// Steps between two marks of the time axis, in seconds.
const STEPS: [i64; 14] = [
    1,
    10,
    60,
    300,
    900,
    3600,
    3 * 3600,
    12 * 3600,
    86_400,
    2 * 86_400,
    7 * 86_400,
    14 * 86_400,
    30 * 86_400,
    365 * 86_400,
];

struct Lane<'a> {
    key: &'a str,
    truths: Vec<usize>,
    events: Vec<usize>,
}

/// The picture.
///
/// # Errors
/// If it cannot be drawn.
pub fn svg(truths: &[Truth], events: &[Told], score: &Score) -> Result<String> {
    let lanes = lanes(truths, events, score);
    let shown = &lanes[..lanes.len().min(LANES_MAX)];
    let height = TOP + LANE * shown.len() as i32 + BOTTOM;
    let mut out = String::new();
    {
        let root = SVGBackend::with_string(&mut out, (WIDTH as u32, height as u32)).into_drawing_area();
        let failed = |error: DrawingAreaErrorKind<_>| anyhow!("the picture cannot be drawn: {error}");
        root.fill(&WHITE).map_err(failed)?;
        let axis = Axis::new(score.span_us);
        let bottom = TOP + LANE * shown.len() as i32;
        for time_us in axis.marks() {
            let x = axis.x(time_us);
            root.draw(&PathElement::new(vec![(x, TOP), (x, bottom)], RULE)).map_err(failed)?;
            let style = text(12, &INK, HPos::Center, VPos::Top);
            root.draw(&Text::new(axis.label(time_us), (x, bottom + 6), style)).map_err(failed)?;
        }
        let more = lanes.len() - shown.len();
        let left_out = if more > 0 { format!("; {more} more entities are not shown") } else { String::new() };
        let hits = score.hits.iter().flatten().count();
        let wrong = score.fates.iter().filter(|fate| **fate == Fate::False).count();
        let title = format!("{hits} of {} windows hit, {wrong} false{left_out}", truths.len());
        root.draw(&Text::new(title, (16, 14), text(17, &BLACK, HPos::Left, VPos::Top))).map_err(failed)?;
        let legend =
            [(WINDOW, "truth, hit"), (MISSED, "truth, missed"), (HIT, "hit"), (REPEAT, "again"), (MISSED, "false")];
        for (index, (color, says)) in legend.into_iter().enumerate() {
            let x = 640 + 140 * index as i32;
            root.draw(&Circle::new((x, 24), 5, color.filled())).map_err(failed)?;
            root.draw(&Text::new(says, (x + 10, 24), text(13, &INK, HPos::Left, VPos::Center))).map_err(failed)?;
        }
        for (index, lane) in shown.iter().enumerate() {
            let top = TOP + LANE * index as i32;
            let middle = top + LANE / 2;
            root.draw(&PathElement::new(vec![(LEFT, middle), (WIDTH - RIGHT, middle)], RULE)).map_err(failed)?;
            let style = text(13, &INK, HPos::Right, VPos::Center);
            root.draw(&Text::new(cut(lane.key, 42), (LEFT - 10, middle), style)).map_err(failed)?;
            for &truth in &lane.truths {
                let (from, to) = (axis.x(truths[truth].from_us), axis.x(truths[truth].to_us));
                // What is shorter than a pixel is seen, too.
                let corners = [(from, top + 4), (to.max(from + 2), top + LANE - 4)];
                let style = match score.hits[truth] {
                    Some(_) => WINDOW.mix(0.6).filled(),
                    None => MISSED.mix(0.25).filled(),
                };
                root.draw(&Rectangle::new(corners, style)).map_err(failed)?;
                if score.hits[truth].is_none() {
                    root.draw(&Rectangle::new(corners, MISSED)).map_err(failed)?;
                }
            }
            for &event in &lane.events {
                let at = (axis.x(events[event].since_us), middle);
                let (color, size) = match score.fates[event] {
                    Fate::Hit(_) => (HIT, 6),
                    Fate::Repeat(_) => (REPEAT, 4),
                    Fate::False => (MISSED, 6),
                    Fate::Unscored => continue,
                };
                root.draw(&TriangleMarker::new(at, size, color.filled())).map_err(failed)?;
            }
        }
        root.present().map_err(failed)?;
    }
    Ok(out)
}

fn text<'a>(size: i32, color: &'a RGBColor, horizontal: HPos, vertical: VPos) -> TextStyle<'a> {
    TextStyle::from(("sans-serif", size).into_font()).color(color).pos(Pos::new(horizontal, vertical))
}

/// By key; where there are too many, those with most misses and false events first.
fn lanes<'a>(truths: &'a [Truth], events: &'a [Told], score: &Score) -> Vec<Lane<'a>> {
    let mut by_key: BTreeMap<&str, Lane<'a>> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        lane(&mut by_key, &event.subject).events.push(index);
    }
    for (index, truth) in truths.iter().enumerate() {
        let hit = score.hits[index].map(|event| &*events[event].subject);
        lane(&mut by_key, truth.subject.as_deref().or(hit).unwrap_or("any subject")).truths.push(index);
    }
    let mut lanes: Vec<Lane<'a>> = by_key.into_values().collect();
    if lanes.len() > LANES_MAX {
        let missed = |lane: &Lane<'_>| lane.truths.iter().filter(|&&truth| score.hits[truth].is_none()).count();
        let wrong = |lane: &Lane<'_>| lane.events.iter().filter(|&&event| score.fates[event] == Fate::False).count();
        lanes.sort_by_key(|lane| std::cmp::Reverse((missed(lane) + wrong(lane), lane.truths.len())));
        lanes[..LANES_MAX].sort_by_key(|lane| lane.key);
    }
    lanes
}

fn lane<'a, 'm>(by_key: &'m mut BTreeMap<&'a str, Lane<'a>>, key: &'a str) -> &'m mut Lane<'a> {
    by_key.entry(key).or_insert_with(|| Lane { key, truths: Vec::new(), events: Vec::new() })
}

/// Event time across the picture.
struct Axis {
    from_us: i64,
    to_us: i64,
}

impl Axis {
    fn new((from_us, to_us): (i64, i64)) -> Self {
        Self { from_us, to_us: to_us.max(from_us.saturating_add(1)) }
    }

    fn x(&self, time_us: i64) -> i32 {
        let part = (time_us - self.from_us) as f64 / (self.to_us - self.from_us) as f64;
        LEFT + (part.clamp(0.0, 1.0) * f64::from(WIDTH - RIGHT - LEFT)).round() as i32
    }

    fn step_us(&self) -> i64 {
        let wanted = (self.to_us - self.from_us) / 10_000_000;
        STEPS.into_iter().find(|step| *step >= wanted).unwrap_or(wanted.max(1)) * 1_000_000
    }

    fn marks(&self) -> impl Iterator<Item = i64> {
        let step_us = self.step_us();
        let first = self.from_us.div_euclid(step_us) + 1;
        let to_us = self.to_us;
        (first..).map(move |at| at * step_us).take_while(move |time_us| *time_us <= to_us)
    }

    fn label(&self, time_us: i64) -> String {
        let time = Timestamp::from_microsecond(time_us).unwrap_or_default();
        let form = if self.step_us() >= 86_400_000_000 { "%Y-%m-%d" } else { "%m-%d %H:%M:%S" };
        time.strftime(form).to_string()
    }
}
