//! `taghook config`: the faults of the config, the values in force, and its JSON Schema.

use std::path::Path;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::exit::{CliError, Exit, print_faults};
use super::{logging, text};
use crate::config::{self, Effective, Fault, Level, Origin, ShownTable};
use crate::domain::shown::{shown, shown_in_json};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say every fault of the config, with its place and remedy
    Check {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show what is in force, defaults included, and where each value comes from
    ///
    /// The output is a config itself, and each line ends in the place of its value. Values of hooks' variables and the
    /// arguments of their commands are shown as "***".
    Show {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the config, for editors
    Schema,
}

pub(super) fn run(explicit: Option<&Path>, command: &ConfigCommand) -> Result<Exit, CliError> {
    match command {
        ConfigCommand::Check { json } => check(&config::find(explicit)?, *json),
        ConfigCommand::Show { json } => show(&config::find(explicit)?, *json),
        ConfigCommand::Schema => {
            text::print(&config::schema())?;
            Ok(Exit::Ok)
        }
    }
}

fn check(path: &Path, is_json: bool) -> Result<Exit, CliError> {
    let loaded = config::load(path);
    let (faults, counts) = match &loaded {
        Ok(loaded) => (loaded.warnings.as_slice(), Some((loaded.config.watches.len(), loaded.config.hooks.len()))),
        Err(faults) => (&faults[..], None),
    };
    if is_json {
        let faults: Vec<Value> = faults.iter().map(fault_json).collect();
        let (watches, hooks) = counts.unzip();
        let found = json!({ "config": path.display().to_string(), "ok": counts.is_some(), "watches": watches, "hooks": hooks, "faults": faults });
        text::print(&text::json_line(&found))?;
    } else {
        if !faults.is_empty() {
            print_faults(faults);
            logging::say("");
        }
        let mut parts = Vec::new();
        if let Some((watches, hooks)) = counts {
            parts = vec![text::count(watches, "watch", "watches"), text::count(hooks, "hook", "hooks")];
        }
        parts.push(summary(faults));
        let line = format!("{}: {}\n", path.display(), parts.join(", "));
        if counts.is_some() { text::print(&line)? } else { logging::say(line.trim_end()) }
    }
    Ok(if counts.is_some() { Exit::Ok } else { Exit::Usage })
}

fn summary(faults: &[Fault]) -> String {
    let errors = faults.iter().filter(|fault| fault.level() == Level::Error).count();
    let warnings = faults.len() - errors;
    let (error_count, warning_count) =
        (text::count(errors, "error", "errors"), text::count(warnings, "warning", "warnings"));
    match (errors, warnings) {
        (0, 0) => "no faults".to_owned(),
        (0, _) => format!("no errors, {warning_count}"),
        (_, 0) => error_count,
        _ => format!("{error_count}, {warning_count}"),
    }
}

fn fault_json(fault: &Fault) -> Value {
    let first = fault.first_defined().map(|(file, line)| json!({ "file": file.display().to_string(), "line": line }));
    json!({
        "level": fault.level().as_str(),
        "message": fault.message(),
        "remedy": fault.remedy(),
        "file": fault.file().map(|file| file.display().to_string()),
        "line": fault.line(),
        "column": fault.column(),
        "first_defined": first,
    })
}

fn show(path: &Path, is_json: bool) -> Result<Exit, CliError> {
    let shown = config::effective(path)?;
    print_faults(&shown.warnings);
    text::print(&if is_json { text::json_line(&show_json(&shown)) } else { show_toml(&shown) })?;
    Ok(Exit::Ok)
}

/// A config with the same meaning, with the origin of each value as a comment.
fn show_toml(shown: &Effective) -> String {
    let mut lines: Vec<String> = Vec::new();
    for table in &shown.tables {
        if !table.kind.is_empty() {
            lines.extend([String::new(), table.header()]);
        }
        for setting in table.meaningful() {
            // TOML's escapes are JSON's.
            let line = format!("{} = {}", setting.key, shown_in_json(&setting.value.to_string()));
            lines.push(format!("{line:<50}  # {}", origin(&setting.origin)));
        }
    }
    lines.join("\n") + "\n"
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Table { file, line } => format!("{}:{line}", shown(file)),
        Origin::Defaults { file, line } => format!("{}:{line} [defaults]", shown(file)),
        Origin::Default => "default".to_owned(),
    }
}

/// The tables by kind and name, with the value and the origin of each key.
fn show_json(shown: &Effective) -> Value {
    let settings = |table: &ShownTable| -> Map<String, Value> {
        table.meaningful().map(|setting| (setting.key.to_owned(), json!(setting))).collect()
    };
    let mut all = Map::new();
    for kind in ["watch", "hook", "registry"] {
        let tables = shown.tables.iter().filter(|table| table.kind == kind);
        let named: Map<String, Value> = tables.map(|table| (table.name.clone(), settings(table).into())).collect();
        all.insert(kind.to_owned(), named.into());
    }
    for table in shown.tables.iter().filter(|table| table.name.is_empty()) {
        match table.kind {
            "" => all.extend(settings(table)),
            kind => drop(all.insert(kind.to_owned(), settings(table).into())),
        }
    }
    all.into()
}
