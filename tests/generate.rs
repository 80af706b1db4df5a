//! What packagers install: man pages and completions, for every command.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::collections::BTreeSet;

use support::sandbox::{Sandbox, Who};

/// The commands in `taghook --help`, but for `help`.
fn verbs(sandbox: &Sandbox) -> BTreeSet<String> {
    let help = sandbox.run_bare(&["--help"]).expect(0).stdout;
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: BTreeSet<String> = list.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(verbs.contains("run") && verbs.len() > 10, "{help}");
    verbs.into_iter().filter(|verb| verb != "help").collect()
}

#[test]
fn every_command_has_a_man_page_that_renders_without_a_warning() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("man")).unwrap();
    sandbox.run_bare(&["generate", "man", "man"]).expect(0);

    let pages = std::fs::read_dir(sandbox.path().join("man")).unwrap();
    let pages: BTreeSet<String> = pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    let of_verbs = verbs(&sandbox).into_iter().map(|verb| format!("taghook-{verb}.1"));
    let expected: BTreeSet<String> = of_verbs.chain(["taghook.1".into(), "taghook-hook-test.1".into()]).collect();
    assert!(expected.is_subset(&pages), "{expected:?} {pages:?}");
    for page in pages {
        // What man(1) does, with all warnings.
        let said = sandbox.shell(Who::Us, &format!("groff -man -Tutf8 -P-cbou -ww -rLL=80n man/{page}")).expect(0);
        assert_eq!(said.stderr, "", "{page}");
        assert!(said.stdout.contains("SYNOPSIS"), "{page}: {}", said.stdout);
    }

    let one = sandbox.run_bare(&["generate", "man"]).expect(0).stdout;
    assert!(one == std::fs::read_to_string(sandbox.path().join("man/taghook.1")).unwrap());
    let said = sandbox.run_bare(&["generate", "man", "nowhere"]).expect(2).stderr;
    assert!(said.contains("cannot write man pages into \"nowhere\""), "{said}");
}

#[test]
fn completions_know_every_command_and_are_valid() {
    let sandbox = Sandbox::new();
    let verbs = verbs(&sandbox);
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.run_bare(&["generate", "completions", shell]).expect(0).stdout;
        let missing: Vec<&String> = verbs.iter().filter(|verb| !script.contains(verb.as_str())).collect();
        assert!(missing.is_empty(), "{shell}: {missing:?}");
        std::fs::write(sandbox.path().join(shell), script).unwrap();
    }
    let said = sandbox.shell(Who::Us, "bash -n bash").expect(0);
    assert_eq!(said.stderr, "");
    let asked =
        "source ./bash; COMP_WORDS=(taghook he); COMP_CWORD=1; _taghook taghook he taghook; echo \"${COMPREPLY[@]}\"";
    let said = sandbox.shell(Who::Us, &format!("bash -c '{asked}'")).expect(0);
    assert_eq!(said.stdout, "health help\n");
}

#[test]
fn the_help_of_what_is_used_most_has_examples() {
    let sandbox = Sandbox::new();
    for verb in ["run", "check", "status", "history", "deliveries", "log", "explain", "retry", "pause", "health"] {
        for option in ["-h", "--help"] {
            let help = sandbox.run_bare(&[verb, option]).expect(0).stdout;
            let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{verb}: {help}"));
            assert!(examples.lines().next().unwrap().contains(&format!("taghook {verb}")), "{examples}");
        }
    }
}
