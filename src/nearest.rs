//! "Did you mean": the nearest known word to an unknown one.

/// The candidate nearest to `word`, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance =
        |candidate: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase());
    let scored = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= (word.chars().count() / 3).max(2)).then_some(candidate)
}

/// Adds the nearest name to serde's message about an unknown field or variant, which lists the known ones in back
/// quotes; leaves any other message as it is.
pub fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = if message.starts_with("unknown ") { quoted.next() } else { None };
    match unknown.and_then(|word| nearest(word, quoted)) {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_named_if_it_is_near() {
        let known = ["listen", "processes", "data_dir"];
        assert_eq!(nearest("proceses", known), Some("processes"));
        assert_eq!(nearest("lisetn", known), Some("listen"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn an_unknown_field_gets_a_hint() {
        let message = "unknown field `lisen`, expected one of `listen`, `processes`";
        assert_eq!(with_nearest(message), format!("{message}; did you mean `listen`?"));
        assert_eq!(with_nearest("missing field `inputs`"), "missing field `inputs`");
    }
}
