//! Which points are worth a look: the Pareto front of delay, noise and misses, and its knee.

use super::{Against, Measured};

/// What is paid at a point; less is better in each.
fn costs(measured: &Measured) -> [f64; 3] {
    let delay = measured.delay_us() as f64;
    match measured.against {
        // With a truth, noise is what is false.
        Some(against) => [delay, against.wrong as f64, against.missed as f64],
        None => [delay, measured.per_day, 0.0],
    }
}

/// The points that no other beats: none is at least as good in everything and better in something.
/// In order of delay. To say nothing at all is no way to be quiet.
pub fn pareto(measured: &[Measured]) -> Vec<usize> {
    let costs: Vec<[f64; 3]> = measured.iter().map(costs).collect();
    let heard: Vec<usize> = (0..measured.len()).filter(|&at| !measured[at].is_mute()).collect();
    // Of equal ones the first stays.
    let beats = |a: usize, b: usize| {
        let no_worse = costs[a].iter().zip(&costs[b]).all(|(a, b)| a <= b);
        no_worse && (costs[a] != costs[b] || a < b)
    };
    let stays = |&at: &usize| !heard.iter().any(|&other| beats(other, at));
    let mut front: Vec<usize> = heard.iter().copied().filter(stays).collect();
    front.sort_by(|&a, &b| costs[a].partial_cmp(&costs[b]).unwrap_or(std::cmp::Ordering::Equal));
    front
}

/// The suggestion. With a truth: the best F1 score, and of equal ones the least delay. Without: the
/// knee of the front, which is nearest to no delay and no noise at all, where the greatest delay and
/// the greatest noise of all points are as bad as each other (compromise programming; M. Zeleny, 1973).
pub fn knee(measured: &[Measured], front: &[usize]) -> Option<usize> {
    let heard = || measured.iter().filter(|measured| !measured.is_mute()).map(costs);
    let [most_delay, most_noise] =
        [0, 1].map(|axis| heard().map(|costs| costs[axis]).fold(f64::MIN_POSITIVE, f64::max));
    let value = |at: usize| match measured[at].against {
        Some(against) => Against::f1(against),
        None => {
            let [delay, noise, _] = costs(&measured[at]);
            -(delay / most_delay + noise / most_noise)
        }
    };
    // The first of equal ones: the front is in order of delay.
    let better = |best: usize, at: usize| if value(at) > value(best) { at } else { best };
    front.iter().copied().reduce(better)
}
