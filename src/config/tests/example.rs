//! `config.example.toml` is the reference: it works, it is complete, and its defaults are the real ones.

use super::*;

/// The shipped example.
const EXAMPLE: &str = include_str!("../../../config.example.toml");

/// The example with its commented settings in force: those that `choose` wants.
fn example(choose: impl Fn(&str) -> bool) -> String {
    let is_setting = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase());
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if is_setting(setting) && choose(setting) => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn is_default(setting: &str) -> bool {
    !setting.ends_with("# no default")
}

fn load_example(text: &str) -> Config {
    let around = Surroundings { state_directory: Some("/var/lib/taghook".into()), ..around() };
    load_in(&Folder::new(text, &[]).path(), &around).unwrap().config
}

#[test]
fn the_example_works_as_it_is() {
    let loaded = Folder::new(EXAMPLE, &[]).load().unwrap();
    assert_eq!(loaded.config.watches.len(), 1);
    assert!(loaded.warnings.is_empty(), "{}", render(&loaded.warnings, false));
}

#[test]
fn the_examples_defaults_are_the_real_ones() {
    let spelt_out = example(is_default);
    assert!(spelt_out.lines().filter(|line| line.contains(" = ")).count() > 20);
    assert_eq!(format!("{:#?}", load_example(&spelt_out)), format!("{:#?}", load_example(EXAMPLE)));
}

#[test]
fn the_example_has_every_key_and_no_other() {
    // With all settings in force it is accepted, so it has no other; but for one that stands instead of another.
    load_example(&example(|setting| !setting.starts_with("password_credential")));
    load_example(&example(|setting| !setting.starts_with("password_file")));
    let table: toml::Table = example(|_| true).parse().unwrap();
    let keys = |path: [&str; 2]| -> Vec<String> {
        let [kind, name] = path;
        let table = if kind.is_empty() { &table } else { table[kind].as_table().unwrap() };
        let table = if name.is_empty() { table } else { table[name].as_table().unwrap() };
        table.keys().cloned().collect()
    };
    for (header, mut written) in [
        ("", keys(["", ""])),
        ("[defaults]", keys(["defaults", ""])),
        ("[retention]", keys(["retention", ""])),
        ("[watch.x]", [keys(["defaults", ""]), keys(["watch", "alpine"])].concat()),
        ("[hook.x]", keys(["hook", "announce"])),
        ("[registry.x]", keys(["registry", "registry.example.com:5000"])),
    ] {
        let folder = Folder::new(&format!("{header}\nzzzzzzzz = 1\n"), &[]);
        let faults = folder.load().unwrap_err();
        let mut known: Vec<String> = faults
            .iter()
            .filter_map(|fault| fault.remedy()?.strip_prefix("known keys are ").map(str::to_owned))
            .flat_map(|keys| keys.split(", ").map(str::to_owned).collect::<Vec<_>>())
            .collect();
        known.sort();
        written.sort();
        written.dedup();
        assert_eq!(written, known, "{header}");
    }
}
