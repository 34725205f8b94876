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
    let unknown = ["unknown field ", "unknown variant "].iter().find_map(|words| message.find(words));
    let mut quoted = message[unknown.unwrap_or(message.len())..].split('`').skip(1).step_by(2);
    match quoted.next().and_then(|word| nearest(word, quoted)) {
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
        let message = "stat: unknown field `stat`, expected one of `state`, `label`";
        assert_eq!(with_nearest(message), format!("{message}; did you mean `state`?"));
        assert_eq!(with_nearest("missing field `inputs`"), "missing field `inputs`");
    }
}
