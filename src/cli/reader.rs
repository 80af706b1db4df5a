//! What the commands that read the database have in common: their options, and the database.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::exit::CliError;
use super::located::{find_watch, readable};
use super::text;
use crate::domain::ChangeKind;
use crate::domain::delivery::DeliveryState;
use crate::domain::schedule::parse_duration;
use crate::store::{self, Filter, Reader};

#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    /// Only this watch
    #[arg(value_name = "WATCH")]
    pub(super) watch: Option<String>,
    /// At most so many lines [default: 50 on a terminal, all in a pipe]
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: Option<u32>,
    /// Read the state in this directory, whatever the config says
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// How many lines fit a person who looks at a terminal.
const LIMIT_ON_TERMINAL: u32 = 50;

// Not a doc comment, which would become help text: options of the commands that read changes.
#[derive(Debug, Args)]
pub(super) struct PastArgs {
    #[command(flatten)]
    pub(super) read: ReadArgs,
    /// Only changes since then: a time ago ("2d"), a date, or a time as in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<Timestamp>,
    /// Only changes before that
    #[arg(long, value_name = "WHEN", value_parser = when)]
    until: Option<Timestamp>,
    /// Only changes of this kind
    #[arg(long, value_name = "KIND", value_parser = change_kind())]
    change: Option<ChangeKind>,
}

impl PastArgs {
    pub(super) fn filter(&self) -> Filter {
        let default = (text::is_terminal() && !self.read.json).then_some(LIMIT_ON_TERMINAL);
        Filter {
            watch: self.read.watch.clone(),
            since: self.since,
            until: self.until,
            change: self.change,
            limit: self.read.limit.or(default).map(|limit| limit as usize),
            ..Filter::default()
        }
    }
}

pub(super) fn change_kind() -> impl TypedValueParser<Value = ChangeKind> {
    let words = PossibleValuesParser::new(ChangeKind::ALL.map(ChangeKind::as_str));
    words.try_map(|word| ChangeKind::parse(&word).ok_or("not a kind of change"))
}

pub(super) fn delivery_state() -> impl TypedValueParser<Value = DeliveryState> {
    let words = PossibleValuesParser::new(DeliveryState::ALL.map(DeliveryState::as_str));
    words.try_map(|word| DeliveryState::parse(&word).ok_or("not a state of a delivery"))
}

/// Parses a time as people write it. A date means its midnight in the local time zone.
fn when(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = parse_duration(text) {
        let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
        return Ok(Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::MIN));
    }
    let here = |date: DateTime| date.to_zoned(TimeZone::system()).ok().map(|zoned| zoned.timestamp());
    let found = text.parse().ok().or_else(|| text.parse().ok().and_then(here));
    found.ok_or_else(|| {
        "it is neither a time ago, as \"2d\", nor a date, as \"2026-01-31\" or \"2026-01-31T12:00:00Z\"".into()
    })
}

/// Opens the database; `None` while nothing was ever checked.
pub(super) fn open(explicit: Option<&Path>, read: &ReadArgs) -> Result<Option<Reader>, CliError> {
    let (config, state) = readable(explicit, read.state.as_ref())?;
    let reader = match Reader::open(&state) {
        Ok(reader) => Some(reader),
        Err(store::Error::Missing(_)) if config.is_some() => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(name) = &read.watch {
        let configured = config.iter().flat_map(|config| config.watches.keys().map(ToString::to_string));
        let recorded = reader.as_ref().map(Reader::names).transpose()?.unwrap_or_default();
        let known: Vec<String> = configured.chain(recorded).collect();
        find_watch(name, known.iter().map(String::as_str))?;
    }
    Ok(reader)
}
