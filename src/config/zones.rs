//! Remedies for time zones that are not known.

use super::suggest::nearest;

/// What to write instead of `name`.
pub(super) fn help(name: &str) -> String {
    let zones: Vec<String> = jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
    if zones.is_empty() {
        return "this host has no time zones; install the package tzdata".to_owned();
    }
    let offset = name.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_start();
    if offset.starts_with(['+', '-']) && offset.contains(|c: char| c.is_ascii_digit()) {
        return "an offset is not the name of a zone; write a city's zone, such as \"Europe/Berlin\", or, with the sign \
                turned round, \"Etc/GMT-2\" for UTC+2"
            .to_owned();
    }
    let city = |zone: &str| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name));
    let known = || zones.iter().map(String::as_str);
    match known().find(|zone| city(zone)).or_else(|| nearest(name, known())) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "write for example \"Europe/Berlin\" or \"UTC\"; the names are those of timedatectl list-timezones"
            .to_owned(),
    }
}
