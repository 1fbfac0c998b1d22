//! `[order]`: how signals are put in order.

use stillhouse_core::plan::OrderPlan;

use crate::config::schema::Order;
use crate::config::{Refusal, refuse};

/// How long a source may be silent before it no longer holds the others back, unless configured.
const IDLE_AFTER_US: i64 = 600_000_000;

pub(super) fn check(order: Order) -> Result<OrderPlan, Refusal> {
    let default = OrderPlan::default();
    if let Some(max) = order.pending_max.as_ref().filter(|max| *max.get_ref() == 0) {
        return Err(refuse(
            max.span(),
            "`pending_max` must be at least 1: a signal waits until it can be put in order",
        ));
    }
    if let Some(max) = order.ids_max.as_ref().filter(|max| *max.get_ref() < 2) {
        return Err(refuse(max.span(), "`ids_max` must be at least 2"));
    }
    if let Some(idle) = order.idle_after.as_ref().filter(|idle| idle.get_ref().0 == 0) {
        return Err(refuse(idle.span(), "`idle_after` must be more than 0: every source is silent for a moment"));
    }
    if let Some(leap) = order.leap_max.as_ref().filter(|leap| leap.get_ref().0 == 0) {
        return Err(refuse(leap.span(), "`leap_max` must be more than 0: every signal is ahead of the one before it"));
    }
    Ok(OrderPlan {
        leap_max_us: order.leap_max.map(|leap| leap.get_ref().0),
        allowed_lateness_us: order.allowed_lateness.map_or(default.allowed_lateness_us, |lateness| lateness.0),
        idle_after_us: Some(order.idle_after.map_or(IDLE_AFTER_US, |idle| idle.get_ref().0)),
        pending_max: order.pending_max.map_or(default.pending_max, |max| *max.get_ref()),
        id_window_us: order.id_window.map_or(default.id_window_us, |window| window.0),
        ids_max: order.ids_max.map_or(default.ids_max, |max| *max.get_ref() as usize),
    })
}
