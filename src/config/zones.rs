//! The time zone of the host, and remedies for time zones that are not known.

use std::env;
use std::path::Path;

use jiff::tz::TimeZone;

use super::fault::Fault;
use super::quote::quoted;
use super::suggest::nearest;

/// Where systemd and the C library look for the time zone of the host.
const LOCALTIME: &str = "/etc/localtime";

/// The time zone of the host, which is UTC if nothing is said about it; or that what is said names none.
pub(super) fn of_host() -> Result<TimeZone, Fault> {
    if let Ok(zone) = TimeZone::try_system() {
        return Ok(zone);
    }
    let fault = match env::var_os("TZ") {
        Some(name) => {
            let name = quoted(&name.to_string_lossy());
            let fault =
                Fault::warning(format!("$TZ is {name}, which names no known time zone, so UTC is used in its place"));
            fault.help("set it to the name of a zone, such as Europe/Berlin")
        }
        None if Path::new(LOCALTIME).symlink_metadata().is_err() => return Ok(TimeZone::UTC),
        None => Fault::warning(format!("{LOCALTIME} is no known time zone, so UTC is used in its place"))
            .help("set it with timedatectl set-timezone, or install the package tzdata"),
    };
    Err(fault)
}

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
        Some(near) => format!("did you mean {}?", quoted(near)),
        None => "write for example \"Europe/Berlin\" or \"UTC\"; the names are those of timedatectl list-timezones"
            .to_owned(),
    }
}
