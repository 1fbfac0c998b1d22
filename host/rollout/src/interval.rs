//! How far a share that was counted may be from the true one.
//!
//! Only `+ - * /` and the square root: IEEE 754 gives them one result, so that every machine decides
//! the same.

/// The quantile of the normal distribution for an interval that holds the true share in 95 of 100 cases.
pub const Z_95: f64 = 1.959_963_984_540_054;

/// The same for 999 of 1,000 cases.
pub const Z_999: f64 = 3.290_526_731_491_9;

/// The least and the greatest true share that `hits` of `of` speak for.
///
/// The score interval of E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical
/// Inference", Journal of the American Statistical Association 22 (1927), 209-212. Unlike the usual
/// one it is right for few hits and for none. Without rows it is everything.
pub fn wilson(hits: u64, of: u64, z: f64) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let (share, rows) = (hits as f64 / of as f64, of as f64);
    let shrink = 1.0 + z * z / rows;
    let centre = (share + z * z / (2.0 * rows)) / shrink;
    let spread = z * (share * (1.0 - share) / rows + z * z / (4.0 * rows * rows)).max(0.0).sqrt() / shrink;
    let low = if hits == 0 { 0.0 } else { (centre - spread).max(0.0) };
    let high = if hits >= of { 1.0 } else { (centre + spread).min(1.0) };
    (low, high)
}

/// The least true distance between two shares, in either direction.
///
/// The hybrid score interval of R. G. Newcombe, "Interval Estimation for the Difference Between
/// Independent Proportions", Statistics in Medicine 17 (1998), 873-890, method 10, made of Wilson's.
/// Both versions saw the same rows, so that the shares go together and the true interval is narrower:
/// this errs on the side of waiting for more.
pub fn apart_at_least(one: (u64, u64), other: (u64, u64), z: f64) -> f64 {
    if one.1 == 0 || other.1 == 0 {
        return 0.0;
    }
    let share = |(hits, of): (u64, u64)| hits as f64 / of as f64;
    let (greater, less) = if share(one) >= share(other) { (one, other) } else { (other, one) };
    let below = share(greater) - wilson(greater.0, greater.1, z).0;
    let above = wilson(less.0, less.1, z).1 - share(less);
    (share(greater) - share(less) - (below * below + above * above).sqrt()).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, wanted: f64) {
        assert!((got - wanted).abs() < 5e-5, "{got} is not {wanted}");
    }

    /// Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3.
    #[test]
    fn the_interval_is_that_of_the_book() {
        for (hits, of, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let got = wilson(hits, of, Z_95);
            near(got.0, low);
            near(got.1, high);
            let mirrored = wilson(of - hits, of, Z_95);
            near(mirrored.0, 1.0 - high);
            near(mirrored.1, 1.0 - low);
        }
        assert_eq!(wilson(0, 0, Z_95), (0.0, 1.0));
        assert_eq!((wilson(0, 7, Z_95).0, wilson(7, 7, Z_95).1), (0.0, 1.0));
    }

    /// Newcombe 1998 (873-890), table II, method 10: 56/70 and 48/80, 9/10 and 3/10.
    #[test]
    fn the_distance_is_that_of_the_book() {
        near(apart_at_least((56, 70), (48, 80), Z_95), 0.0524);
        near(apart_at_least((48, 80), (56, 70), Z_95), 0.0524);
        near(apart_at_least((9, 10), (3, 10), Z_95), 0.1705);
        assert_eq!(apart_at_least((0, 10), (0, 10), Z_95), 0.0);
        assert_eq!(apart_at_least((0, 0), (10, 10), Z_95), 0.0);
    }
}
