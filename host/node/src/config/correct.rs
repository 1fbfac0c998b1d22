//! `correct`: late signals that are taken in after all.

use crate::config::schema::Signal;
use crate::config::{Refusal, refuse};

/// Refuses what cannot be corrected.
pub(super) fn check(file: &Signal) -> Result<(), Refusal> {
    let Some(correct) = &file.correct else { return Ok(()) };
    if correct.get_ref().0 == 0 {
        return Err(refuse(correct.span(), "`correct` must be more than 0: it is how late a signal may still be"));
    }
    if file.window.as_ref().is_some_and(|window| window.get_ref().early) {
        let message = "`correct` and a window with `early = true`: a final result already supersedes its early one; \
                       leave one of the two out";
        return Err(refuse(correct.span(), message));
    }
    Ok(())
}
