use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn next(schedule: &str, zone: &str, after: &str) -> String {
    let zone = TimeZone::get(zone).unwrap();
    Schedule::parse(schedule, &zone).unwrap().next("web", Duration::ZERO, at(after)).to_string()
}

#[test]
fn durations_are_read_as_people_write_them() {
    for (text, seconds) in
        [("30s", 30), ("15m", 900), ("1h30m", 5400), ("1h 30m", 5400), ("3d", 259_200), ("2w", 1_209_600)]
    {
        assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
    for text in ["", "5", "every 5x", "-5m", "1month", "m"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn cron_follows_crontab() {
    assert_eq!(next("*/5 * * * *", "UTC", "2026-11-23T12:01:00Z"), "2026-11-23T12:05:00Z");
    assert_eq!(next("@daily", "Europe/Berlin", "2026-11-23T12:01:00Z"), "2026-11-23T23:00:00Z");
    // Sunday is 0 and 7; day of month and day of week are joined by "or".
    assert_eq!(next("0 0 * * 0", "UTC", "2026-11-23T12:00:00Z"), "2026-11-29T00:00:00Z");
    assert_eq!(next("0 0 * * 7", "UTC", "2026-11-23T12:00:00Z"), "2026-11-29T00:00:00Z");
    assert_eq!(next("0 0 1 * 2", "UTC", "2026-11-23T12:00:00Z"), "2026-11-24T00:00:00Z");
}

#[test]
fn a_day_that_a_zone_skipped_is_passed_over() {
    let due = next("0 12 * * *", "Pacific/Apia", "2011-12-30T00:00:00Z");
    assert!(at(&due) > at("2011-12-30T00:00:00Z"), "{due}");
}

/// The reason of the error, and the part of the text that it concerns.
fn refusal(text: &str) -> (String, &str) {
    let wrong = Schedule::parse(text, &TimeZone::UTC).unwrap_err();
    (wrong.reason, &text[wrong.at])
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_field_and_the_reason() {
    for (text, part, meant) in [
        ("every 5x", "neither a duration nor a cron expression", "every 5x"),
        ("5", "\"5\" has no unit; write for example \"5s\" or \"5m\"", "5"),
        ("0 0 31 2 *", "it never comes: no month of \"2\" has a day of \"31\"", "31 2"),
        (
            " */100 * * * *",
            "minute: the step of \"*/100\" does not fit into 60 values; for an interval write \"100m\"",
            "*/100",
        ),
        ("*/60 * * * *", "minute: the step of \"*/60\" does not fit", "*/60"),
        ("*/0 * * * *", "minute: \"*/0\" has a step of 0", "*/0"),
        ("*/x * * * *", "minute: the step \"x\" is not a number", "*/x"),
        ("0,61 * * * *", "minute: there is no minute 61; it goes from 0 to 59", "61"),
        ("0 24 * * *", "hour: there is no hour 24; midnight is 0", "24"),
        ("0 0 0 * *", "day of month: there is no day of month 0; it goes from 1 to 31", "0"),
        ("0 0 * FOO *", "month: \"FOO\" is not a month; it is a number from 1 to 12 or a name, JAN to DEC", "FOO"),
        ("0 0 * * FRI-MON", "day of week: the range FRI-MON runs backwards; write 5-7,0-1", "FRI-MON"),
        ("0 0 * * MON-SUN", "day of week: the range MON-SUN runs backwards; write MON-7", "MON-SUN"),
        ("0 0 * * 5-0", "day of week: the range 5-0 runs backwards; write 5-7", "5-0"),
        ("0 9- * * *", "hour: a value is missing", "9-"),
        // Because these are refused, `is_fixed` need not consider `?`.
        ("30 ? * * *", "has L, W, # or ? where they have no meaning", "30 ? * * *"),
        ("? 2 * * *", "has L, W, # or ? where they have no meaning", "? 2 * * *"),
        ("0 0 * * 5W", "has L, W, # or ? where they have no meaning", "0 0 * * 5W"),
        (
            "0 * * * * *",
            "five fields (minute, hour, day of month, month, day of week), not 6; if the first",
            "0 * * * * *",
        ),
        ("* * * *", "five fields", "* * * *"),
        ("@reboot", "known names", "@reboot"),
        ("@every 5m", "write \"5m\"", "@every 5m"),
        ("0s", "out of range", "0s"),
        ("10ms", "out of range", "10ms"),
    ] {
        let (reason, at) = refusal(text);
        assert!(reason.contains(part), "{text}: {reason}");
        if !text.contains("0 0 0") {
            assert_eq!(at, meant, "{text}: {reason}");
        }
    }
    assert_eq!(Schedule::parse("0 0 0 * *", &TimeZone::UTC).unwrap_err().at, 4..5);
}

#[test]
fn what_crontab_allows_passes_the_check_of_the_fields() {
    for text in [
        "*/59 */23 */30 */11 */7",
        "0 0 * jan-DEC 1-5",
        "0,30 8-18/2 1,15 * mon,7",
        "5 4 L * *",
        "0 0 * * MON#2",
        "59 23 31 12 0-7",
    ] {
        assert!(Schedule::parse(text, &TimeZone::UTC).is_ok(), "{text}");
    }
}

#[test]
fn how_often_a_schedule_comes_in_an_hour() {
    for (text, expected) in [("15m", 4.0), ("30s", 120.0), ("*/5 * * * *", 12.0), ("0 3 * * *", 1.0), ("@hourly", 1.0)]
    {
        assert_eq!(Schedule::parse(text, &TimeZone::UTC).unwrap().per_hour(), expected, "{text}");
    }
}

#[test]
fn watches_with_one_interval_are_spread_over_it() {
    let schedule = Schedule::parse("15m", &TimeZone::UTC).unwrap();
    let now = at("2026-11-23T12:00:00Z");
    let mut per_minute = [0; 15];
    for n in 0..1500 {
        let due = schedule.next(&format!("watch-{n}"), Duration::ZERO, now);
        per_minute[((due.as_second() - now.as_second()) / 60).min(14) as usize] += 1;
    }
    assert!(per_minute.iter().all(|n| (60..=140).contains(n)), "{per_minute:?}");
}

#[test]
fn what_runs_at_fixed_times_runs_once_for_each_where_clocks_change() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let dues = |text: &str, from: &str, until: &str| -> Vec<String> {
        let schedule = Schedule::parse(text, &berlin).unwrap();
        dues(&schedule, Duration::ZERO, at(from), at(until)).iter().map(ToString::to_string).collect()
    };
    // 02:30 does not exist on this day, so the job runs at 03:00, right after 01:59.
    let spring = |text| dues(text, "2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z");
    assert_eq!(spring("30 2 * * *"), ["2027-03-28T01:00:00Z"]);
    assert_eq!(spring("30 2,14 * * *"), ["2027-03-28T01:00:00Z", "2027-03-28T12:30:00Z"]);
    assert_eq!(spring("0,30 2 * * *"), ["2027-03-28T01:00:00Z"]);
    // A job that follows the wall clock misses the skipped times.
    assert_eq!(spring("*/30 2 * * *"), <[&str; 0]>::default());
    // On this day, 02:30 exists twice.
    let autumn = |text| dues(text, "2027-10-30T22:00:00Z", "2027-10-31T23:00:00Z");
    assert_eq!(autumn("30 2,14 * * *"), ["2027-10-31T00:30:00Z", "2027-10-31T13:30:00Z"]);
    assert_eq!(autumn("30 */2 * * *").len(), 13);
}

/// Zones whose clocks change by an hour, by half an hour, by a whole day, at midnight, in the southern summer, or
/// never.
const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Havana",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Asia/Gaza",
    "Australia/Lord_Howe",
    "Pacific/Apia",
];

/// All due times after `from`, up to `until`.
fn dues(schedule: &Schedule, jitter: Duration, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let mut after = from;
    let next = || {
        after = schedule.next("web", jitter, after);
        Some(after).filter(|due| *due <= until)
    };
    std::iter::from_fn(next).collect()
}

/// The expected due times of a cron expression for every day, found by brute force: it looks at every minute.
fn by_the_minute(text: &str, zone: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let fields: Vec<&str> = text.split(' ').collect();
    let matches = |time: jiff::civil::DateTime| {
        is_in(fields[0], time.minute(), 60) && is_in(fields[1], time.hour(), 24) && time.second() == 0
    };
    let minutes = |from: i64, until: i64| (from.div_euclid(60)..=until.div_euclid(60)).map(|minute| minute * 60);
    if fields[0].starts_with('*') || fields[1].starts_with('*') {
        let all = minutes(from.as_second(), until.as_second()).map(|second| Timestamp::from_second(second).unwrap());
        return all.filter(|time| *time > from && *time <= until && matches(zone.to_datetime(*time))).collect();
    }
    // All wall-clock times from two days before to two days after, each turned into an instant.
    let spare = SignedDuration::from_hours(48);
    let (first, last) = (TimeZone::UTC.to_datetime(from - spare), TimeZone::UTC.to_datetime(until + spare));
    let first = first.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second();
    let last = last.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second();
    let shown = minutes(first, last).map(|second| TimeZone::UTC.to_datetime(Timestamp::from_second(second).unwrap()));
    let when = |time: jiff::civil::DateTime| {
        let ambiguous = zone.to_ambiguous_zoned(time);
        if let jiff::tz::AmbiguousOffset::Gap { before, after } = ambiguous.offset() {
            if after.seconds() - before.seconds() > 3 * 3600 {
                return None;
            }
            // The first minute after the gap.
            let behind = (1..=180).map(|minutes| time + SignedDuration::from_mins(minutes));
            let mut behind = behind.filter(|time| !zone.to_ambiguous_zoned(*time).is_ambiguous());
            return Some(zone.to_zoned(behind.next().unwrap()).unwrap().timestamp());
        }
        Some(ambiguous.earlier().unwrap().timestamp())
    };
    let mut all: Vec<Timestamp> = shown.filter(|time| matches(*time)).filter_map(when).collect();
    all.dedup();
    all.retain(|time| *time > from && *time <= until);
    all
}

/// Whether a cron field (numbers, lists, ranges and steps) matches a value.
fn is_in(field: &str, value: i8, size: i8) -> bool {
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').map_or((part, 1), |(range, step)| (range, step.parse().unwrap()));
        let (low, high) = match range.split_once('-') {
            Some((low, high)) => (low.parse().unwrap(), high.parse().unwrap()),
            None if range == "*" => (0, size - 1),
            None => (range.parse().unwrap(), range.parse::<i8>().unwrap()),
        };
        (low..=high).contains(&value) && (value - low) % step == 0
    })
}

fn field(size: u8) -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    // Clocks change in the first hours of the day, so these are chosen more often.
    let value = prop_oneof![0..size, 0..size.min(4)];
    let range = (value.clone(), value.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    let part = prop_oneof![3 => value.prop_map(|value| value.to_string()), 1 => range];
    let list = proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join(","));
    let step = (2..size / 2).prop_map(|step| format!("*/{step}"));
    prop_oneof![4 => list, 1 => step, 1 => Just("*".to_owned())]
}

/// The next change of the zone's clocks.
fn next_change(zone: &TimeZone, after: Timestamp) -> Timestamp {
    zone.following(after).next().map_or(after, |change| change.timestamp())
}

proptest::proptest! {
    #[test]
    fn around_every_change_of_the_clocks_a_crontab_comes_as_cron_has_it(
        minute in field(60),
        hour in field(24),
        zone in proptest::sample::select(ZONES.to_vec()),
        after in 0i64..2_000_000_000,
    ) {
        let (text, zone) = (format!("{minute} {hour} * * *"), TimeZone::get(zone).unwrap());
        let schedule = Schedule::parse(&text, &zone).unwrap();
        let change = next_change(&zone, Timestamp::from_second(after).unwrap());
        let (from, until) = (change - SignedDuration::from_hours(30), change + SignedDuration::from_hours(30));
        let found = dues(&schedule, Duration::ZERO, from, until);
        proptest::prop_assert_eq!(&found, &by_the_minute(&text, &zone, from, until), "{} around {}", text, change);
    }

    #[test]
    fn a_schedule_goes_on_steadily_whoever_asks_and_when(
        schedule in proptest::sample::select(vec![
            "7s", "15m", "7h", "10d", "*/5 * * * *", "*/7 */5 * * *", "30 2 * * *", "0,30 1-3 * * *", "0 0 * * *",
            "@hourly", "@daily", "@weekly", "@monthly", "@yearly", "15 2 29 2 *", "0 3 13 * 5", "30 1 * 3,10 0",
        ]),
        zone in proptest::sample::select(ZONES.to_vec()),
        jitter in proptest::sample::select(vec![0u64, 1, 30, 600, 86_400]),
        after in 0i64..2_000_000_000_000,
        instants in proptest::collection::vec(0.0f64..1.0, 8),
    ) {
        let zone = TimeZone::get(zone).unwrap();
        let (schedule, jitter) = (Schedule::parse(schedule, &zone).unwrap(), Duration::from_secs(jitter));
        let mut after = Timestamp::from_millisecond(after).unwrap();
        for instant in instants {
            let due = schedule.next("web", jitter, after);
            // A due time is in the future, and therefore never repeated.
            proptest::prop_assert!(due > after);
            // Any earlier instant gives the same due time, so a restart neither skips nor repeats one.
            let before = after + due.duration_since(after).mul_f64(instant);
            proptest::prop_assert!(before >= due || schedule.next("web", jitter, before) == due);
            after = due;
        }
    }

    #[test]
    fn a_daily_schedule_comes_once_a_day_whatever_the_clocks_do(
        hour in 0u8..24,
        minute in 0u8..60,
        zone in proptest::sample::select(ZONES.to_vec()),
        after in 0i64..2_000_000_000,
    ) {
        let zone = TimeZone::get(zone).unwrap();
        let schedule = Schedule::parse(&format!("{minute} {hour} * * *"), &zone).unwrap();
        let change = next_change(&zone, Timestamp::from_second(after).unwrap());
        let found = dues(&schedule, Duration::ZERO, change - SignedDuration::from_hours(80), change + SignedDuration::from_hours(80));
        for pair in found.windows(2) {
            let (one, other) = (zone.to_datetime(pair[0]).date(), zone.to_datetime(pair[1]).date());
            // The day that Samoa skipped does not count.
            let is_next = one.tomorrow().unwrap() == other || zone.to_ambiguous_zoned(one.tomorrow().unwrap().at(12, 0, 0, 0)).is_ambiguous();
            proptest::prop_assert!(is_next, "{:?}", pair);
        }
    }
}

#[test]
fn a_time_zone_at_the_head_of_an_expression_is_told_where_it_belongs() {
    for (text, zone, rest) in [
        ("CRON_TZ=Europe/Berlin 0 3 * * *", "Europe/Berlin", "0 3 * * *"),
        (" TZ=UTC  @daily ", "UTC", "@daily"),
        ("TZ=UTC 15m", "UTC", "15m"),
    ] {
        let wrong = Schedule::parse(text, &TimeZone::UTC).unwrap_err();
        let remedy = format!("write schedule = {rest:?} and timezone = {zone:?}");
        assert!(wrong.reason.ends_with(&remedy), "{}", wrong.reason);
        assert!(text[wrong.at].ends_with(&format!("TZ={zone}")));
    }
}
