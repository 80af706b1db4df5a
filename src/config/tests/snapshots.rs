//! The very texts that people read: `snapshots/*.toml` and what is said of each.
//!
//! `BLESS=1 cargo test --lib snapshots` writes the texts anew; read what has changed.

use super::*;

/// Files named in warnings of the snapshots are the same on all machines.
fn said(config: &str) -> String {
    let folder = Folder::new(config, &[]);
    let faults = match folder.load() {
        Ok(loaded) => loaded.warnings,
        Err(faults) => faults.0,
    };
    render(&faults, false).replace(&format!("{}/", folder.0.path().display()), "") + "\n"
}

#[test]
fn faults_read_as_they_are_written_down() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests/snapshots");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        count += 1;
        let said = said(&std::fs::read_to_string(&path).unwrap());
        let expected = path.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &said).unwrap();
        }
        if std::fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("{} differs; now it says:\n{said}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 4);
}
