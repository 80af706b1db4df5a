//! What the documents say is so: the README's config and commands, the paths in ARCHITECTURE.md.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn taghook(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_taghook"))
        .args(args)
        .env_clear()
        .env("HOME", dir)
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap()
}

/// What stands between the first line that begins with `open` and the next that is `close`.
fn block(text: &str, open: &str, close: &str) -> String {
    let lines = text.lines().skip_while(|line| !line.starts_with(open)).skip(1);
    lines.take_while(|line| *line != close).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_readmes_config_has_no_faults() {
    let dir = tempfile::tempdir().unwrap();
    let config = block(&read("README.md"), "```toml", "```");
    assert!(config.contains("[watch.") && config.contains("[hook."), "{config}");
    let path = dir.path().join("config.toml");
    std::fs::write(&path, &config).unwrap();
    let output = taghook(&["config", "check", "--config", path.to_str().unwrap()], dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_readme_names_every_command_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let help = String::from_utf8(taghook(&["--help"], dir.path()).stdout).unwrap();
    let commands = block(&help, "Commands:", "");
    let exist: BTreeSet<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(exist.contains("run"), "{help}");

    let readme = read("README.md");
    let table = block(&readme, "| command | does |", "");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `taghook "));
    let named: BTreeSet<&str> = rows.filter_map(|row| row.split([' ', '`']).next()).collect();
    assert_eq!(named, exist);
}

#[test]
fn the_readme_names_every_variable_that_a_hook_gets_and_no_other() {
    let variables = |text: &str| -> BTreeSet<String> {
        let word =
            |at: usize| text[at..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect::<String>();
        text.match_indices("TAGHOOK_").map(|(at, _)| word(at)).filter(|name| name != "TAGHOOK_").collect()
    };
    // The names are made from the keys of one list.
    let source = read("src/agent/deliver/message.rs");
    let list = block(&source, "    let values = [", "    ];");
    let list = list.replace("(hook::DELIVERY,", "(\"delivery\",");
    let keys = list.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next());
    let mut told: BTreeSet<String> = keys.map(|key| format!("TAGHOOK_{}", key.to_ascii_uppercase())).collect();
    assert!(told.contains("TAGHOOK_ATTEMPT"), "{list}");
    told.insert("TAGHOOK_CONFIG".into());
    assert_eq!(variables(&read("README.md")), told);
}

#[test]
fn architecture_is_short_and_every_path_in_it_exists() {
    let text = read("ARCHITECTURE.md");
    assert!(text.lines().count() <= 150, "{} lines", text.lines().count());
    let missing: Vec<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| ["src/", "tests/", "examples/"].iter().any(|root| quoted.starts_with(root)))
        .filter(|path| !Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists())
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn every_quirk_has_its_tests_and_they_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: Vec<PathBuf> = ["src", "tests"].iter().flat_map(|dir| rust_files(&root.join(dir))).collect();
    let sources: String = sources.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let functions = sources.split("fn ").filter_map(|rest| rest.split_once("()"));
    let exist: BTreeSet<&str> = functions.map(|(name, _)| name).collect();
    let page = read("docs/registry-quirks.md");
    let rows: Vec<Vec<&str>> =
        page.lines().skip_while(|line| *line != "|---|---|---|").skip(1).map(|row| row.split('|').collect()).collect();
    let rows: Vec<_> = rows.iter().filter(|row| row.len() == 5).collect();
    let cases: Vec<u32> = rows.iter().map(|row| row[1].trim().parse().unwrap()).collect();
    assert_eq!(cases, (1..=37).collect::<Vec<_>>());
    let mut missing = Vec::new();
    for row in rows {
        let named: Vec<_> = row[3].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "case {} has no test", row[1]);
        missing.extend(named.into_iter().filter(|name| !exist.contains(name)));
    }
    assert_eq!(missing, Vec::<&str>::new());
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let (mut files, mut left) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}
