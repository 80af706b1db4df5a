//! "Did you mean": the known word that is nearest to one that is not known.

/// After this many comparisons of names, faults go without a suggestion: ten thousand watches may each name a hook that
/// does not exist.
pub(super) const MOST_COMPARISONS: usize = 100_000;

/// What people write for what is called otherwise here.
const OTHER_WORDS: [(&str, &str); 17] = [
    ("args", "command"),
    ("cert", "ca_file"),
    ("cron", "schedule"),
    ("directory", "cwd"),
    ("environment", "env"),
    ("events", "on"),
    ("every", "schedule"),
    ("exec", "command"),
    ("insecure", "plain_http"),
    ("interval", "schedule"),
    ("mirror", "endpoint"),
    ("retries", "attempts"),
    ("run", "command"),
    ("tag", "image"),
    ("tz", "timezone"),
    ("user", "username"),
    ("workdir", "cwd"),
];

/// The one of `known` that was probably meant by `word`.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let lower = word.to_ascii_lowercase();
    let meant = OTHER_WORDS.iter().find(|(other, _)| *other == lower).map(|(_, meant)| *meant);
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let rank = |candidate: &str| {
        if meant == Some(candidate) || candidate.eq_ignore_ascii_case(word) {
            return Some(0);
        }
        if candidate.len().abs_diff(word.len()) <= allowed {
            let distance = strsim::osa_distance(&lower, &candidate.to_ascii_lowercase());
            return (distance <= allowed).then_some(distance);
        }
        let extends = lower.len() >= 3 && (candidate.starts_with(&lower) || lower.starts_with(candidate));
        (extends && candidate.len() >= 3).then_some(allowed + 1)
    };
    known.into_iter().filter_map(|candidate| Some((rank(candidate)?, candidate))).min().map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_far_ones_are_not_offered() {
        let known = ["image", "schedule", "hooks", "password_file", "on", "enabled"];
        for (word, expected) in [
            ("shedule", Some("schedule")),
            ("scheduel", Some("schedule")),
            ("hook", Some("hooks")),
            ("Image", Some("image")),
            ("password", Some("password_file")),
            ("interval", Some("schedule")),
            ("enable", Some("enabled")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
