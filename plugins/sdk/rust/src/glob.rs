//! Patterns for event types, as in `wants`: exact, or with `*` for any run of characters.

/// Whether a text is what a pattern describes.
///
/// ```
/// use trommel_plugin::glob;
/// assert!(glob::matches("com.example.*.down", "com.example.ap.down"));
/// assert!(!glob::matches("com.example", "com.example.ap"));
/// ```
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    // The leftmost place for each part leaves the most for those after it, so no other need be
    // tried.
    for part in middle.split('*') {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(tail)
}

/// Whether one of these patterns describes a text; no pattern at all describes every text, as in
/// `wants`.
pub fn any_matches(patterns: &[String], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, text))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "abc"),
            ("a*", "a"),
            ("a*c", "abbc"),
            ("*b*", "abc"),
            ("a**c", "ac"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "a"), ("a", ""), ("a*", "ba"), ("a*a", "a"), ("*ab*ab*", "ab"), ("a*b*c", "acb")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_part_found_early_leaves_room_for_the_tail() {
        assert!(matches("*ab*b", "abab"));
        assert!(matches("a*b*ab", "axbab"));
        assert!(!matches("ab*ba", "aba"));
    }
}
