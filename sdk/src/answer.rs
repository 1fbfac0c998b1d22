//! What a rule answers.

use std::borrow::Cow;

pub use crate::declaration::Condition;

/// The canonical states of a mapper: an enum with `#[derive(States)]`.
pub trait States: Copy {
    /// Name and condition of each state, in the order of their codes.
    const ALL: &'static [(&'static str, Condition)];

    /// The code: the state's index in [`States::ALL`].
    fn code(self) -> u8;
}

/// How much a signal matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing to do.
    Info = 0,
    /// Look when there is time.
    Warning = 1,
    /// Something does not work.
    Error = 2,
    /// Somebody must act now. Overrides suppression.
    Critical = 3,
}

/// A record key: one text, or up to four parts that are joined by `/` without an allocation.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    /// The parts, the first `usize` of which count.
    Parts([&'a str; 4], usize),
    /// A text that the rule made.
    Owned(String),
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(text: &'a str) -> Self {
        Key::Parts([text, "", "", ""], 1)
    }
}
impl From<String> for Key<'_> {
    fn from(text: String) -> Self {
        Key::Owned(text)
    }
}
impl<'a> From<[&'a str; 2]> for Key<'a> {
    fn from([a, b]: [&'a str; 2]) -> Self {
        Key::Parts([a, b, "", ""], 2)
    }
}
impl<'a> From<[&'a str; 3]> for Key<'a> {
    fn from([a, b, c]: [&'a str; 3]) -> Self {
        Key::Parts([a, b, c, ""], 3)
    }
}
impl<'a> From<[&'a str; 4]> for Key<'a> {
    fn from(parts: [&'a str; 4]) -> Self {
        Key::Parts(parts, 4)
    }
}

/// What a mapper answers for one signal. Made by [`observe`], [`dropped`] and [`rejected`].
#[derive(Clone, Debug)]
pub enum Mapped<'a, S> {
    /// The signal says that an entity is in a state.
    Observed {
        /// The canonical state.
        state: S,
        /// Which entity.
        key: Key<'a>,
        /// How much it matters.
        severity: Severity,
        /// What tells two observations of this state apart; empty for nothing.
        value: Cow<'a, str>,
    },
    /// The signal says nothing about any state.
    Dropped(Cow<'static, str>),
    /// The signal should say something and does not.
    Rejected(Cow<'static, str>),
}

/// The entity `key` is in `state`. Severity is a warning for a problem and info otherwise.
pub fn observe<'a, S: States>(state: S, key: impl Into<Key<'a>>) -> Mapped<'a, S> {
    let severity = match S::ALL[state.code() as usize].1 {
        Condition::Problem => Severity::Warning,
        Condition::Healthy | Condition::Gone => Severity::Info,
    };
    Mapped::Observed { state, key: key.into(), severity, value: Cow::Borrowed("") }
}

/// The signal says nothing about any state: it is counted and forgotten. Keep the reasons few.
pub fn dropped<'a, S>(reason: impl Into<Cow<'static, str>>) -> Mapped<'a, S> {
    Mapped::Dropped(reason.into())
}

/// The signal should say something and does not: it becomes a dead letter with this reason.
pub fn rejected<'a, S>(reason: impl Into<Cow<'static, str>>) -> Mapped<'a, S> {
    Mapped::Rejected(reason.into())
}

impl<'a, S> Mapped<'a, S> {
    /// Sets the severity of an observation.
    pub fn severity(mut self, wanted: Severity) -> Self {
        if let Mapped::Observed { severity, .. } = &mut self {
            *severity = wanted;
        }
        self
    }

    /// Sets what tells two observations of the same state apart: which leader, which pattern.
    pub fn value(mut self, wanted: impl Into<Cow<'a, str>>) -> Self {
        if let Mapped::Observed { value, .. } = &mut self {
            *value = wanted.into();
        }
        self
    }
}

/// What a suppressor answers for one candidate. Made by [`emit`], [`suppress`], [`delay`] and
/// [`escalate`].
#[derive(Clone, Debug)]
pub struct Verdict {
    pub(crate) verdict: u8,
    pub(crate) until_us: i64,
    pub(crate) severity: u8,
    pub(crate) reason: Cow<'static, str>,
}

/// The candidate leaves.
pub fn emit() -> Verdict {
    Verdict { verdict: 0, until_us: 0, severity: 0, reason: Cow::Borrowed("") }
}

/// The candidate is held back until its state ends; if the state still stands at `until_us`
/// (microseconds since 1970; 0 or beyond the host's bound: that bound) it leaves after all.
pub fn suppress(reason: impl Into<Cow<'static, str>>, until_us: i64) -> Verdict {
    Verdict { verdict: 1, until_us, severity: 0, reason: reason.into() }
}

/// The candidate is judged again at `until_us` (microseconds since 1970) if its state still stands.
pub fn delay(reason: impl Into<Cow<'static, str>>, until_us: i64) -> Verdict {
    Verdict { verdict: 2, until_us, severity: 0, reason: reason.into() }
}

/// The candidate leaves with another severity.
pub fn escalate(reason: impl Into<Cow<'static, str>>, severity: Severity) -> Verdict {
    Verdict { verdict: 3, until_us: 0, severity: severity as u8, reason: reason.into() }
}
