//! What a grid came to as a picture (SVG): for each signal type noise over delay, with the front.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Measured;
use super::table::Choice;
use crate::score::table::human;

const WIDTH: u32 = 1100;
const HEIGHT: u32 = 460;

const POINT: RGBColor = RGBColor(190, 190, 190);
const FRONT: RGBColor = RGBColor(40, 90, 160);
const KNEE: RGBColor = RGBColor(220, 120, 30);
const INK: RGBColor = RGBColor(60, 60, 60);

/// Marks of the axis of delay, in seconds.
const DELAYS_S: [i64; 12] = [0, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 86_400, 7 * 86_400, 30 * 86_400];

/// Delay spreads over powers of ten, and begins at nothing: this shows both.
fn delay(measured: &Measured) -> f64 {
    scaled(measured.delay_us() as f64 / 1e6)
}

fn scaled(value: f64) -> f64 {
    value.ln_1p()
}

/// The picture.
///
/// # Errors
/// If it cannot be drawn.
pub fn svg(choices: &[Choice<'_>]) -> Result<String> {
    let mut out = String::new();
    {
        let size = (WIDTH, HEIGHT * choices.len().max(1) as u32);
        let root = SVGBackend::with_string(&mut out, size).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        for (choice, area) in choices.iter().zip(root.split_evenly((choices.len().max(1), 1))) {
            chart(choice, &area)?;
        }
        root.present().map_err(failed)?;
    }
    Ok(out)
}

fn failed<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> anyhow::Error {
    anyhow!("the picture cannot be drawn: {error}")
}

fn chart(choice: &Choice<'_>, area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<()> {
    let noise = |measured: &Measured| scaled(measured.per_day);
    let most = |value: &dyn Fn(&Measured) -> f64| choice.measured.iter().map(value).fold(0.0, f64::max);
    let (right, top) = (most(&delay).max(1.0) * 1.05, most(&noise).max(0.1) * 1.1);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}: events a day over added delay (raise + clear)", choice.name), ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..right, 0.0..top)
        .map_err(failed)?;
    // Only the marks of the axes are by hand: plotters would put them at round logarithms.
    chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(0)
        .y_labels(0)
        .x_desc("delay")
        .y_desc("events a day")
        .axis_desc_style(("sans-serif", 14))
        .draw()
        .map_err(failed)?;
    let area = chart.plotting_area();
    let label = |horizontal, vertical| {
        TextStyle::from(("sans-serif", 12).into_font()).color(&INK).pos(Pos::new(horizontal, vertical))
    };
    let rule = RGBColor(232, 232, 232);
    for seconds in DELAYS_S.into_iter().filter(|&seconds| scaled(seconds as f64) <= right) {
        let x = scaled(seconds as f64);
        area.draw(&PathElement::new(vec![(x, 0.0), (x, top)], rule)).map_err(failed)?;
        let text = Text::new(human(seconds * 1_000_000), (x, top), label(HPos::Center, VPos::Top));
        area.draw(&text).map_err(failed)?;
    }
    for exponent in -2..7 {
        let value = 10f64.powi(exponent);
        let y = scaled(value);
        if y <= top && y >= top * 0.03 {
            area.draw(&PathElement::new(vec![(0.0, y), (right, y)], rule)).map_err(failed)?;
            area.draw(&Text::new(format!("{value}"), (0.0, y), label(HPos::Left, VPos::Bottom))).map_err(failed)?;
        }
    }
    let at = |index: usize| (delay(&choice.measured[index]), noise(&choice.measured[index]));
    for index in 0..choice.measured.len() {
        area.draw(&Circle::new(at(index), 3, POINT.filled())).map_err(failed)?;
    }
    let front: Vec<(f64, f64)> = choice.front.iter().map(|&index| at(index)).collect();
    // With a truth the front is of three dimensions, and no line.
    if choice.measured.iter().all(|measured| measured.against.is_none()) {
        area.draw(&PathElement::new(front.clone(), FRONT.stroke_width(2))).map_err(failed)?;
    }
    for point in front {
        area.draw(&Circle::new(point, 4, FRONT.filled())).map_err(failed)?;
    }
    let named = [(choice.configured_at(), "configured", INK), (choice.knee, "suggested", KNEE)];
    for (index, says, color) in named.into_iter().filter_map(|(index, says, color)| Some((index?, says, color))) {
        let point = &choice.measured[index].point;
        area.draw(&Circle::new(at(index), 7, color.stroke_width(3))).map_err(failed)?;
        let (x, y) = at(index);
        let text = format!("{says}: {} / {}", human(point.hold_down_us), human(point.hold_open_us));
        let below = if says == "suggested" { VPos::Bottom } else { VPos::Top };
        let style = TextStyle::from(("sans-serif", 14).into_font()).color(&color).pos(Pos::new(HPos::Left, below));
        area.draw(&Text::new(text, (x + right * 0.012, y), style)).map_err(failed)?;
    }
    Ok(())
}
