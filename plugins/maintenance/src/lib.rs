//! Stays quiet about what is under maintenance.
//!
//! Setting `windows`: windows separated by `;`, each a time and the record keys that it is for.
//!
//! ```text
//! 2026-03-01T02:00Z/2026-03-01T04:00Z shop/*; daily 23:30-01:00 db-*
//! ```
//!
//! All times are UTC; a daily window may pass midnight. In a key pattern `*` stands for any text,
//! also for none. A problem that comes up in a window is suppressed until the window ends (where
//! others that fit follow without a gap: until the last of them ends), and leaves then if it still
//! stands. What is healthy always leaves: the host pairs it with its problem.
//!
//! Setting `except_severity`: problems of at least this severity leave at once; `error` or
//! `critical` (default).
//!
//! Setting `escalate`: key patterns, separated by `;`, whose problems are critical, window or not.

mod pattern;
mod window;

use stillhouse_sdk::prelude::*;

use pattern::Pattern;
use window::Window;

#[derive(Candidate)]
struct Problem<'a> {
    /// The record key.
    key: &'a str,
    /// When the candidate came up, in microseconds since 1970.
    time: i64,
    /// 0 info to 3 critical.
    severity: i64,
    /// Whether the state that the candidate tells of is healthy.
    healthy: bool,
}

/// What the user set.
pub struct Plan {
    windows: Vec<(Window, Pattern)>,
    except: Severity,
    escalate: Vec<Pattern>,
}

impl Settings for Plan {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let mut plan = Plan { windows: Vec::new(), except: Severity::Critical, escalate: Vec::new() };
        for (name, value) in settings {
            let items = value.split(';').map(str::trim).filter(|item| !item.is_empty());
            match (name.as_str(), value.as_str()) {
                ("windows", _) => plan.windows = items.map(read_window).collect::<Result<_, _>>()?,
                ("escalate", _) => plan.escalate = items.map(read_pattern).collect::<Result<_, _>>()?,
                ("except_severity", "error") => plan.except = Severity::Error,
                ("except_severity", "critical") => plan.except = Severity::Critical,
                ("except_severity", other) => {
                    return Err(format!("setting `except_severity`: expected error or critical, got `{other}`"));
                }
                _ => {
                    return Err(format!(
                        "unknown setting `{name}`: this rule has `windows`, `except_severity` and `escalate`"
                    ));
                }
            }
        }
        Ok(plan)
    }
}

fn read_window(item: &str) -> Result<(Window, Pattern), String> {
    let refuse = |expected: &str| format!("setting `windows`: expected {expected}, got `{item}`");
    let (first, rest) = item.split_once(char::is_whitespace).unwrap_or((item, ""));
    let (window, rest) = if first == "daily" {
        let (times, rest) = rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest.trim_start(), ""));
        let window = Window::daily(times).ok_or_else(|| refuse("`daily HH:MM-HH:MM KEYS` with two different times"))?;
        (window, rest)
    } else {
        let window = Window::once(first).ok_or_else(|| {
            refuse("`FROM/TO KEYS` with FROM before TO, both such as 2026-03-01T02:00Z, or `daily HH:MM-HH:MM KEYS`")
        })?;
        (window, rest)
    };
    let pattern = Pattern::read(rest.trim()).ok_or_else(|| refuse("one key pattern after the time, such as shop/*"))?;
    Ok((window, pattern))
}

fn read_pattern(item: &str) -> Result<Pattern, String> {
    Pattern::read(item).ok_or_else(|| {
        format!("setting `escalate`: expected key patterns separated by `;`, such as db-*, got `{item}`")
    })
}

fn judge(problem: Problem<'_>, plan: &Plan) -> Verdict {
    if problem.healthy {
        return emit();
    }
    if plan.escalate.iter().any(|pattern| pattern.fits(problem.key)) {
        return escalate("the settings call it critical", Severity::Critical);
    }
    if problem.severity >= plan.except as i64 {
        return emit();
    }
    match plan.ends_us(problem.key, problem.time) {
        Some(until_us) => suppress("under maintenance", until_us),
        None => emit(),
    }
}

impl Plan {
    /// When the maintenance of `key` that is on at `time_us` ends. Each window counts once, so that
    /// daily windows that fill the day still end.
    fn ends_us(&self, key: &str, time_us: i64) -> Option<i64> {
        let mut open: Vec<&Window> =
            self.windows.iter().filter(|(_, pattern)| pattern.fits(key)).map(|(window, _)| window).collect();
        let mut until_us = None;
        loop {
            let at_us = until_us.unwrap_or(time_us);
            let Some(index) = open.iter().position(|window| window.end_us(at_us).is_some()) else {
                return until_us;
            };
            until_us = open.swap_remove(index).end_us(at_us);
        }
    }
}

mod cases;
use cases::cases;

suppressor! {
    name: "maintenance",
    version: env!("CARGO_PKG_VERSION"),
    settings: Plan,
    judge: judge,
    cases: cases,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> String {
        Plan::read(&[(name.to_owned(), value.to_owned())]).err().expect("refused")
    }

    #[test]
    fn wrong_settings_are_refused() {
        let window = "setting `windows`: expected `FROM/TO KEYS` with FROM before TO, both such as \
                      2026-03-01T02:00Z, or `daily HH:MM-HH:MM KEYS`, got ";
        for wrong in ["weekly shop/*", "2026-03-01T04:00Z/2026-03-01T02:00Z a", "2026-02-30T04:00Z/2026-03-01T02:00Z a"]
        {
            assert_eq!(refused("windows", wrong), format!("{window}`{wrong}`"));
        }
        assert_eq!(
            refused("windows", "daily 02:00-04:00 a; daily 2-4 db-*"),
            "setting `windows`: expected `daily HH:MM-HH:MM KEYS` with two different times, got `daily 2-4 db-*`"
        );
        let keys = "setting `windows`: expected one key pattern after the time, such as shop/*, got ";
        for wrong in ["daily 02:00-04:00", "daily 02:00-04:00 a b", "2026-03-01T02:00Z/2026-03-01T04:00Z"] {
            assert_eq!(refused("windows", wrong), format!("{keys}`{wrong}`"));
        }
        assert_eq!(
            refused("except_severity", "info"),
            "setting `except_severity`: expected error or critical, got `info`"
        );
        assert_eq!(
            refused("escalate", "a b"),
            "setting `escalate`: expected key patterns separated by `;`, such as db-*, got `a b`"
        );
        assert_eq!(
            refused("window", ""),
            "unknown setting `window`: this rule has `windows`, `except_severity` and `escalate`"
        );
    }
}
