//! `[signal.TYPE.window]`: which problems fall together, and how many of them are news.

use std::ops::Range;

use serde::Deserialize;
use stillhouse_core::window::{DISTINCT_MAX, DURATION_MAX_US, PANES_MAX, Shape, WindowPlan};
use toml::Spanned;

use crate::config::duration::Duration;
use crate::config::{Refusal, refuse, schema};

/// How long a session, or a run of sliding windows, may last unless configured.
const MAX_US: i64 = 86_400_000_000;

/// `[signal.TYPE.window]`. Its shape follows from its keys: `gap` makes sessions, `size` tumbling
/// windows, `size` with `every` sliding ones.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Session: the silence that ends it.
    pub gap: Option<Spanned<Duration>>,
    /// Tumbling and sliding: how long a window is.
    pub size: Option<Spanned<Duration>>,
    /// Sliding: a window ends at each multiple of it; `size` is a whole number of them.
    pub every: Option<Spanned<Duration>>,
    /// Session and sliding: a result that spans so much ends, and counting starts anew (1d).
    pub max: Option<Spanned<Duration>>,
    /// It is news from so many observations on (1).
    pub count: Option<Spanned<u64>>,
    /// And from so many distinct sources on.
    pub sources: Option<Spanned<usize>>,
    /// And from so many distinct values on.
    pub values: Option<Spanned<usize>>,
    /// Whether it is told as soon as it is news, and again at its end (false).
    #[serde(default)]
    pub early: bool,
}

/// Refuses a window without its mode, and what makes no sense in it.
pub(super) fn check(signal: &schema::Signal) -> Result<(), Refusal> {
    match (signal.mode, &signal.window) {
        (schema::Mode::Window, _) => plan(signal).map(|_| ()),
        (mode, Some(window)) => {
            let message = format!("a window needs `mode = \"window\"`, here it is `mode = \"{}\"`", mode.name());
            Err(refuse(window.span(), message))
        }
        (_, None) => Ok(()),
    }
}

/// The window as the core needs it.
pub(super) fn plan(signal: &schema::Signal) -> Result<WindowPlan, Refusal> {
    let Some(window) = &signal.window else {
        let message = "`mode = \"window\"` needs a window: add a table `[signal.\"TYPE\".window]` with \
                       `gap = \"5m\"`, `size = \"5m\"`, or `size = \"5m\"` and `every = \"1m\"`";
        return Err(refuse(signal.mapper.span(), message));
    };
    let (span, window) = (window.span(), window.get_ref());
    if let Some(count) = window.count.as_ref().filter(|count| *count.get_ref() == 0) {
        return Err(refuse(count.span(), "`count` must be at least 1: a window without observations is no news"));
    }
    Ok(WindowPlan {
        shape: shape(span, window)?,
        count: window.count.as_ref().map_or(1, |count| *count.get_ref()),
        sources: distinct("sources", window.sources.as_ref())?,
        values: distinct("values", window.values.as_ref())?,
        early: window.early,
    })
}

fn shape(span: Range<usize>, window: &Window) -> Result<Shape, Refusal> {
    let max_us = length("max", window.max.as_ref())?;
    let gap_us = length("gap", window.gap.as_ref())?;
    let size_us = length("size", window.size.as_ref())?;
    let every_us = length("every", window.every.as_ref())?;
    match (gap_us, size_us, every_us) {
        (Some(gap_us), None, None) => {
            Ok(Shape::Session { gap_us, max_us: bound("gap", gap_us, max_us, span, window)? })
        }
        (None, Some(size_us), None) => match &window.max {
            Some(max) => {
                Err(refuse(max.span(), "`max` is for sessions and sliding windows; `size` says how long this is"))
            }
            None => Ok(Shape::Tumbling { size_us }),
        },
        (None, Some(size_us), Some(every_us)) => {
            if size_us % every_us != 0 || size_us / every_us > PANES_MAX {
                let message = format!(
                    "`size` is {} times `every`; it must be a whole number of times, at most {PANES_MAX}",
                    (size_us as f64 / every_us as f64 * 100.0).round() / 100.0
                );
                return Err(refuse(window.every.as_ref().map_or(span, Spanned::span), message));
            }
            Ok(Shape::Sliding { size_us, every_us, max_us: bound("size", size_us, max_us, span, window)? })
        }
        (None, None, _) => {
            Err(refuse(span, "a window needs `gap` (session), `size` (tumbling), or `size` and `every` (sliding)"))
        }
        (Some(_), _, _) => {
            let message =
                "`gap` makes sessions, `size` and `every` make windows of one length: leave one of the two out";
            Err(refuse(span, message))
        }
    }
}

/// `max`, which must be at least the `least` that is called `name`.
fn bound(name: &str, least_us: i64, max_us: Option<i64>, span: Range<usize>, window: &Window) -> Result<i64, Refusal> {
    let span = window.max.as_ref().map_or(span, Spanned::span);
    match max_us.unwrap_or(MAX_US) {
        max_us if max_us < least_us => {
            let message =
                format!("`max` (1d unless given) is shorter than `{name}`; give a `max` of at least `{name}`");
            Err(refuse(span, message))
        }
        max_us => Ok(max_us),
    }
}

fn length(name: &str, duration: Option<&Spanned<Duration>>) -> Result<Option<i64>, Refusal> {
    let Some(duration) = duration else { return Ok(None) };
    match duration.get_ref().0 {
        0 => Err(refuse(duration.span(), format!("`{name}` must be more than 0"))),
        us if us > DURATION_MAX_US => Err(refuse(duration.span(), format!("`{name}` must be at most 366d"))),
        us => Ok(Some(us)),
    }
}

fn distinct(name: &str, count: Option<&Spanned<usize>>) -> Result<usize, Refusal> {
    let Some(count) = count else { return Ok(0) };
    match *count.get_ref() {
        given if !(1..=DISTINCT_MAX).contains(&given) => {
            Err(refuse(count.span(), format!("`{name}` must be from 1 to {DISTINCT_MAX}, got {given}")))
        }
        given => Ok(given),
    }
}
