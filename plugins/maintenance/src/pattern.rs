//! Key patterns: a text in which `*` stands for any text.

/// A pattern for record keys.
pub(crate) struct Pattern {
    /// What stands between the stars; one entry: no star.
    parts: Vec<String>,
}

impl Pattern {
    /// Reads a pattern; none if it is empty or has a space in it.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let sound = !text.is_empty() && !text.contains(char::is_whitespace);
        sound.then(|| Pattern { parts: text.split('*').map(str::to_owned).collect() })
    }

    /// Whether all of `key` fits the pattern.
    pub(crate) fn fits(&self, key: &str) -> bool {
        let [first, middle @ .., last] = self.parts.as_slice() else {
            return self.parts[0] == key;
        };
        let Some(mut rest) = key.strip_prefix(first.as_str()) else {
            return false;
        };
        // The earliest place for each part leaves the most for those that follow.
        for part in middle {
            match rest.find(part.as_str()) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        let fits = |pattern, key| Pattern::read(pattern).expect("a pattern").fits(key);
        for (pattern, key) in [
            ("shop/cart", "shop/cart"),
            ("*", ""),
            ("*", "anything"),
            ("shop/*", "shop/cart/1"),
            ("*/cart", "shop/cart"),
            ("s*/c*t", "shop/c/cart"),
            ("a*a", "aa"),
            ("a**b", "a-b"),
        ] {
            assert!(fits(pattern, key), "`{pattern}` fits `{key}`");
        }
        for (pattern, key) in [("shop", "shop/cart"), ("shop/*", "shops"), ("a*a", "a"), ("*x*", "abc"), ("a*b", "abc")]
        {
            assert!(!fits(pattern, key), "`{pattern}` does not fit `{key}`");
        }
    }

    #[test]
    fn a_pattern_is_one_word() {
        assert!(Pattern::read("").is_none());
        assert!(Pattern::read("a b").is_none());
    }
}
