//! The trained model: made by `train.py`, never edited.
//!
//! ```text
//! python3 plugins/transient/train.py grid5000_sites2359.csv.gz web_sites_dev.avt.gz
//! ```
//!
//! Logistic regression on 3746 outages (every recording counts as much as the others) of
//! - `grid5000_sites2359.csv.gz` (1690 outages before 1156394428 s),
//!   SHA-256 `12ca77813333d1b32a2c82b045764de99557ff9c71f946500d9e6d244a7d9986`
//! - `web_sites_dev.avt.gz` (2056 outages before 10007619 s),
//!   SHA-256 `ad5acf132640f19f47db00b93c851d4665859aa3fe700c088b7a0ea001fadfa9`

/// An outage that lasts so long in all is persistent.
pub const LASTS_US: i64 = 3_600_000_000;
/// How fast the outages of before lose weight.
pub const HALF_LIFE_US: i64 = 5_184_000_000_000;
/// Added to the number of outages before, so that few of them say little.
pub const PRIOR: f64 = 2.0;
/// The log-odds of lasting, where nothing is known.
pub const INTERCEPT: f64 = 0.806782;
/// By the share of outages before that were persistent,
pub const PERSISTENT: f64 = 0.970814;
/// by the share that were transient,
pub const TRANSIENT: f64 = -2.726405;
/// and by the last one: 1 if it was persistent, -1 if it was transient, 0 if there was none.
pub const LAST: f64 = 0.213979;
