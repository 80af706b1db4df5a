//! The house rules of ARCHITECTURE.md that a compiler does not check: which way arrows point, and what things are called.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The layers from the top down. Those of one row are siblings and do not import each other.
const LAYERS: [&[&str]; 5] =
    [&["cli"], &["agent"], &["config"], &["registry", "store", "hook", "control", "fleet"], &["domain", "bounded"]];

/// One file of `src/`, without its tests.
struct File {
    /// `["agent", "check", "due"]`; a `mod.rs` has the path of its folder.
    module: Vec<String>,
    path: PathBuf,
    code: String,
}

#[test]
fn arrows_between_layers_point_down_only() {
    let rank = |layer: &str| LAYERS.iter().position(|row| row.contains(&layer));
    let (mut arrows, mut wrong) = (BTreeSet::new(), Vec::new());
    for file in files() {
        let Some(layer) = file.module.first().filter(|_| file.path.components().count() > 2) else { continue };
        let from = rank(layer).unwrap_or_else(|| panic!("src/{layer} has no place among the layers"));
        for target in paths(&file.code).into_iter().filter(|path| path[0] == "crate" && path.len() > 1) {
            let target = target[1].clone();
            let is_down = target == *layer || rank(&target).is_some_and(|to| from < to);
            if !is_down {
                wrong.push(format!("{}: crate::{target}", file.path.display()));
            }
            arrows.insert((layer.clone(), target));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    // The search must find what is there.
    for (from, to) in [("cli", "agent"), ("agent", "control"), ("config", "hook"), ("store", "domain")] {
        assert!(arrows.contains(&(from.to_owned(), to.to_owned())), "{from} > {to} was not found: {arrows:?}");
    }
}

#[test]
fn no_two_files_import_each_other_in_a_circle() {
    let files = files();
    let arrows = imports(&files);
    // The search must find what is there.
    assert!(arrows["src/agent/check/scheduler.rs"].contains("src/agent/check/roster.rs"), "{arrows:?}");
    assert!(arrows["src/hook/mod.rs"].contains("src/hook/action.rs"), "{arrows:?}");
    assert_eq!(circles(&arrows), Vec::<Vec<&str>>::new());
}

/// Words that stood for several things, or that nobody searches for. Each has a plain word now.
const REMOVED_WORDS: &[&str] = &[
    "Told",
    "Undone",
    "Asked",
    "Trouble",
    "Fed",
    "Books",
    "comes_otherwise",
    "weighs_otherwise",
    "TO_END",
    "CALM",
    "LATE",
    "MANY",
    "SOME",
    "ONCE",
    "UNREAD",
    "PATIENCE",
    "LARGEST",
    "LONGEST",
    "nobodys",
];

#[test]
fn no_removed_word_is_an_identifier() {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for file in files() {
        let code = without_texts(&file.code);
        for word in code.split(|c: char| !is_part(c)).filter(|word| REMOVED_WORDS.contains(word)) {
            found.push(format!("{}: {word}", file.path.display()));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// What waits on tokio's own pool of threads, or starts a thread in a way that panics where there is none.
const UNBOUNDED: &[&str] =
    &["spawn_blocking", "block_in_place", "tokio::fs", "lookup_host", "tokio::io::stdin", "thread::spawn("];

#[test]
fn what_may_block_runs_on_a_pool_with_a_bound_of_its_own() {
    let mut found = Vec::new();
    for file in files() {
        found.extend(UNBOUNDED.iter().filter(|word| file.code.contains(**word)).map(|word| (file.path.clone(), *word)));
        let starts_threads = file.code.contains("thread::Builder") || file.code.contains("thread::scope");
        // The store's writer, the pools, what waits for the log's reader and systemd, and a parser that needs a deep stack and
        // does without if need be.
        let may = ["src/store/writer.rs", "src/bounded/pool.rs", "src/cli/outbox.rs", "src/config/parse.rs"];
        let may = may.map(PathBuf::from);
        if starts_threads && !may.contains(&file.path) {
            found.push((file.path, "thread::Builder"));
        }
    }
    assert_eq!(found, Vec::new());
}

/// `print!` and its like panic where the output is full or gone.
#[test]
fn nothing_is_printed_by_a_macro_that_panics() {
    let mut found = Vec::new();
    for file in files() {
        let code = without_texts(&file.code);
        for call in ["print!(", "println!("].iter().flat_map(|call| code.matches(call)) {
            found.push(format!("{}: {call}", file.path.display()));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// What a config file says may be a secret, of any length.
#[test]
fn a_fault_quotes_the_config_through_one_function() {
    let mut found = Vec::new();
    // Names of tables that were found to be valid, and a single character.
    let allowed = ["format!(\"{:?}\", self.name)", "cannot have {bad:?}"];
    for file in files() {
        let path = file.path.to_string_lossy().into_owned();
        if !path.starts_with("src/config/") || path.ends_with("/quote.rs") {
            continue;
        }
        let lines = file.code.lines().filter(|line| line.contains(":?}"));
        found.extend(
            lines.filter(|line| !allowed.iter().any(|part| line.contains(part))).map(|line| format!("{path}: {line}")),
        );
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Names that the field uses for one thing each, per edge.
const SHARED_NAMES: &[&str] = &["Error", "Client"];

#[test]
fn each_type_has_a_name_of_its_own() {
    let mut bearers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files() {
        // An indented `type` is an associated one.
        for line in file.code.lines().filter(|line| !line.starts_with(' ') || !line.contains(" type ")) {
            let line = line.trim_start();
            let public = line.strip_prefix("pub ");
            let public = public.or_else(|| Some(line.strip_prefix("pub(")?.split_once(") ")?.1));
            let line = public.unwrap_or(line);
            for kind in ["struct ", "enum ", "type ", "trait "] {
                if let Some(rest) = line.strip_prefix(kind) {
                    let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
                    bearers.entry(name).or_default().push(file.path.display().to_string());
                }
            }
        }
    }
    bearers.retain(|name, files| files.len() > 1 && !SHARED_NAMES.contains(&name.as_str()));
    assert_eq!(bearers, BTreeMap::new());
}

#[test]
fn comments_and_identifiers_are_told_apart_and_groups_are_opened() {
    let source = "use crate::{hook, registry::{A, B as C}};\n// crate::nothing\nfn f() { crate::config::nearest() }\n";
    let expected = [
        vec!["crate", "config", "nearest"],
        vec!["crate", "hook"],
        vec!["crate", "registry", "A"],
        vec!["crate", "registry", "B"],
    ];
    assert_eq!(paths(&without_comments(source)).into_iter().collect::<Vec<_>>(), expected);
    let arrows =
        BTreeMap::from([("a", BTreeSet::from(["b"])), ("b", BTreeSet::from(["c"])), ("c", BTreeSet::from(["a"]))]);
    let arrows = arrows.into_iter().map(|(from, to)| (from.to_owned(), to.into_iter().map(str::to_owned).collect()));
    assert_eq!(circles(&arrows.collect()), [["a", "b", "c"]]);
    assert_eq!(without_texts("let a = \"Told \\\" x\"; 'T' b"), "let a = \"\"; 'T' b");
}

/// For each file, the files that it imports from. A name that a `mod.rs` re-exports counts as that `mod.rs`.
fn imports(files: &[File]) -> BTreeMap<String, BTreeSet<String>> {
    let by_module: BTreeMap<&[String], &File> = files.iter().map(|file| (file.module.as_slice(), file)).collect();
    let mut arrows = BTreeMap::new();
    for file in files {
        let mut targets = BTreeSet::new();
        for path in paths(&file.code) {
            let Some(absolute) = absolute(&file.module, &path, &by_module) else { continue };
            let module = (1..=absolute.len()).rev().find_map(|length| by_module.get(&absolute[..length]));
            targets.extend(module.filter(|to| to.path != file.path).map(|to| to.path.display().to_string()));
        }
        arrows.insert(file.path.display().to_string(), targets);
    }
    arrows
}

/// A path from the root of the crate; `None` for one that leads to another crate or stays inside the file.
fn absolute(module: &[String], path: &[String], known: &BTreeMap<&[String], &File>) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let (base, rest) = match path[0].as_str() {
        "crate" => (Vec::new(), &path[1..]),
        "super" => (module[..module.len().checked_sub(supers)?].to_vec(), &path[supers..]),
        "self" => (module.to_vec(), &path[1..]),
        // A child, as in `pub use action::Action`.
        child => {
            let mut child_module = module.to_vec();
            child_module.push(child.to_owned());
            known.contains_key(child_module.as_slice()).then_some(())?;
            (module.to_vec(), path)
        }
    };
    Some(base.into_iter().chain(rest.iter().cloned()).collect())
}

/// Every group of files that reach each other by imports, sorted.
fn circles(arrows: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<&str>> {
    let reached = |from: &str| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(at) = left.pop() {
            for to in arrows.get(&at).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    left.push(to.clone());
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<String>> = arrows.keys().map(|from| (from.as_str(), reached(from))).collect();
    let mut found: BTreeSet<Vec<&str>> = BTreeSet::new();
    for (from, reaches) in reach.iter().filter(|(from, reaches)| reaches.contains(**from)) {
        let back = |to: &&&str| reaches.contains(**to) && reach[**to].contains(*from);
        found.insert(reach.keys().filter(back).copied().collect());
    }
    found.into_iter().collect()
}

/// The paths of `use` items, their groups opened, and those in the code that start with `crate` or `super`.
fn paths(code: &str) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for item in code.split("\nuse ").skip(1).chain(code.strip_prefix("use ")).chain(code.split("pub use ").skip(1)) {
        open_group(&[], item.split(';').next().unwrap_or_default(), &mut found);
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for word in code.split(|c: char| !is_part(c)).filter(|word| word.contains("::")) {
        let parts: Vec<String> = word.split("::").map(str::to_owned).collect();
        if ["crate", "super"].contains(&parts[0].as_str()) && parts.iter().all(|part| !part.is_empty()) {
            found.insert(parts);
        }
    }
    found
}

/// Opens `a::{b, c::{d, e}}`, behind the parts that are known already.
fn open_group(before: &[String], item: &str, found: &mut BTreeSet<Vec<String>>) {
    let item = item.trim();
    if item.is_empty() {
        return; // What follows the last comma.
    }
    let (head, group) = match item.split_once('{') {
        Some((head, group)) => (head, Some(group)),
        None => (item.split(" as ").next().unwrap_or_default(), None),
    };
    let parts = head.trim().split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned);
    let path: Vec<String> = before.iter().cloned().chain(parts).collect();
    match group {
        Some(group) => top_level(group).into_iter().for_each(|part| open_group(&path, part, found)),
        None => drop(found.insert(path)),
    }
}

/// The parts of a `{…}` group, up to its closing brace; its opening brace is already gone.
fn top_level(group: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

fn without_comments(source: &str) -> String {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.map(|line| format!("{line}\n")).collect()
}

/// The code with its string literals emptied.
fn without_texts(code: &str) -> String {
    let (mut kept, mut inside, mut escaped) = (String::new(), false, false);
    let mut before = ' ';
    for c in code.chars() {
        match (inside, c) {
            (true, _) if escaped => escaped = false,
            (true, '\\') => escaped = true,
            (true, '"') => {
                inside = false;
                kept.push(c);
            }
            (true, _) => {}
            // Not the character '"'.
            (false, '"') if before != '\'' => {
                inside = true;
                kept.push(c);
            }
            (false, _) => kept.push(c),
        }
        before = c;
    }
    kept
}

/// The files of `src/` without their tests and comments.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut left) = (Vec::new(), vec![root.join("src")]);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                if path.file_name().unwrap() != "tests" {
                    left.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.extend(file(path.strip_prefix(root).unwrap(), &std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

fn file(path: &Path, source: &str) -> Option<File> {
    let inside = path.strip_prefix("src").unwrap().with_extension("");
    let mut module: Vec<String> = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if ["tests", "fuzz", "main"].contains(&module.last()?.as_str()) {
        return None;
    }
    if ["mod", "lib"].contains(&module.last()?.as_str()) {
        module.pop();
    }
    let code = without_comments(source);
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
    Some(File { module, path: path.to_owned(), code })
}
