//! What is in force, and where it comes from; and what root is warned of.

use super::acting::Acting;
use super::effective::tables;
use super::load::{How, load_with, wait_for};
use super::*;

fn shown(folder: &Folder) -> Vec<ShownTable> {
    wait_for(load_with(&folder.path(), How::FIRST, environment(), tables)).unwrap().1
}

fn setting<'t>(tables: &'t [ShownTable], header: &str, key: &str) -> &'t Setting {
    let table = tables.iter().find(|table| table.header() == header).unwrap();
    table.settings.iter().find(|setting| setting.key == key).unwrap()
}

#[test]
fn each_value_says_where_it_comes_from() {
    let folder = Folder::new(
        "[watch.web]\nimage = 'nginx'\n[defaults]\nschedule = '@daily'\n",
        &[("a.toml", "[hook.h]\ncommand = 'true'\n\n[watch.\"b.c\"]\nimage = 'redis'\nschedule = '5m'\nhooks = 'h'\n")],
    );
    let tables = shown(&folder);
    let place = |header: &str, key: &str| match &setting(&tables, header, key).origin {
        Origin::Default => "default".to_owned(),
        Origin::Table { file, line } => format!("{}:{line}", file.rsplit('/').next().unwrap()),
        Origin::Defaults { file, line } => format!("{}:{line} [defaults]", file.rsplit('/').next().unwrap()),
    };
    for (header, key, expected) in [
        ("[watch.web]", "image", "config.toml:2"),
        ("[watch.web]", "schedule", "config.toml:4 [defaults]"),
        ("[watch.web]", "settle", "default"),
        ("[watch.\"b.c\"]", "schedule", "a.toml:6"),
        ("[hook.h]", "command", "a.toml:2"),
        ("[registry.\"docker.io\"]", "rate", "default"),
    ] {
        assert_eq!(place(header, key), expected, "{header} {key}");
    }
    assert_eq!(setting(&tables, "[watch.web]", "image").value.as_str(), Some("docker.io/library/nginx:latest"));
}

#[test]
fn every_key_is_shown_where_it_is_set() {
    let folder = Folder::new(
        "state = '/s'\nsocket = '/s/x'\nlisten = '127.0.0.1:9464'\nretention = { changes_age = '1d', deliveries_age = '1d' }\n[watch.w]\nimage = 'r.example/w'\nschedule = '@daily'\ntimezone = 'UTC'\n\
         platform = 'linux/arm64'\n[hook.h]\ncommand = 'true'\n[registry.'r.example']\nusername = 'u'\n\
         password_file = '/p'\nauth_file = '/a'\nca_file = '/c'\nclient_cert = '/d'\nclient_key = '/e'\n\
         [registry.other]\nusername = 'u'\npassword_credential = 'p'\nendpoint = 'https://m.example'\n",
        &[],
    );
    let tables = shown(&folder);
    for section in sections::SECTIONS.iter().filter(|section| section.kind != "defaults") {
        let found = tables.iter().filter(|table| table.kind == section.kind).flat_map(|table| &table.settings);
        let found: std::collections::BTreeSet<&str> = found.map(|setting| setting.key).collect();
        assert_eq!(found, (section.keys)().iter().map(|key| key.name).collect(), "{}", section.kind);
    }
}

/// Somebody who is told what root is told, wherever the tests run.
fn root() -> Acting {
    Acting { user: 0, group: 0 }
}

#[test]
fn root_is_warned_of_what_anyone_may_write() {
    use std::os::unix::fs::PermissionsExt;
    let open = |path: &Path, mode: u32| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let folder = Folder::new("", &[("a.toml", "")]);
    let dir = folder.0.path();
    let script = dir.join("redeploy");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    std::fs::write(
        folder.path(),
        format!("[watch.w]\nimage = 'w'\nhooks = 'h'\n[hook.h]\ncommand = ['/bin/sh', {script:?}, 'web']\n"),
    )
    .unwrap();
    let warnings = |is_root: bool| -> Vec<String> {
        let environment = Environment { acting: is_root.then_some(root()), ..environment() };
        let loaded = load_in(&folder.path(), &environment).unwrap();
        let said = loaded.warnings.iter().map(|fault| fault.to_string().replace(&format!("{}/", dir.display()), ""));
        said.collect()
    };
    assert_eq!(warnings(true), Vec::<String>::new());
    open(&folder.path(), 0o646);
    open(&dir.join("conf.d"), 0o777);
    open(&dir.join("conf.d/a.toml"), 0o666);
    open(&script, 0o757);
    assert_eq!(
        warnings(true),
        [
            "the folder conf.d can be written by anyone (mode 0777), and root acts on it; chmod o-w conf.d",
            "the config config.toml can be written by anyone (mode 0646), and root acts on it; chmod o-w config.toml",
            "the config conf.d/a.toml can be written by anyone (mode 0666), and root acts on it; chmod o-w conf.d/a.toml",
            "config.toml:5:11: hook \"h\": redeploy can be written by anyone (mode 0757), and root acts on it; chmod o-w redeploy",
        ]
    );
    assert_eq!(warnings(false), Vec::<String>::new());
    open(&dir.join("conf.d"), 0o1777);
    assert_eq!(warnings(true).len(), 3, "with the sticky bit nobody replaces another's files");
}

#[test]
fn root_is_warned_of_a_script_in_a_folder_that_anyone_may_write() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("", &[]);
    let scripts = folder.0.path().join("scripts");
    std::fs::create_dir(&scripts).unwrap();
    let script = scripts.join("redeploy");
    std::fs::write(&script, "").unwrap();
    let config = format!("[watch.w]\nimage = 'w'\nhooks = 'h'\n[hook.h]\ncommand = ['/bin/sh', {script:?}]\n");
    std::fs::write(folder.path(), config).unwrap();
    let warnings = |mode: u32| -> Vec<String> {
        std::fs::set_permissions(&scripts, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded = load_in(&folder.path(), &Environment { acting: Some(root()), ..environment() }).unwrap();
        loaded
            .warnings
            .iter()
            .map(|fault| fault.message().replace(&format!("{}/", folder.0.path().display()), ""))
            .collect()
    };
    let said = "hook \"h\": the folder scripts can be written by anyone (mode 0777), and root acts on it";
    assert_eq!(warnings(0o777), [said]);
    assert!(warnings(0o1777).is_empty() && warnings(0o755).is_empty());
}

#[test]
fn the_program_of_a_shell_command_is_looked_for_where_it_is_plainly_one() {
    let warned = |script: &str| -> bool {
        let config = format!("[watch.w]\nimage = 'w'\nhooks = 'h'\n[hook.h]\ncommand = {script:?}\n");
        let warnings = Folder::new(&config, &[]).load().unwrap().warnings;
        warnings.iter().any(|fault| fault.message().contains("nosuch"))
    };
    for script in ["nosuchcommand --now", "/nosuch/command", "  nosuchcommand"] {
        assert!(warned(script), "{script}");
    }
    for script in
        ["cd /nosuch && up", "A=1 nosuchcommand", "$nosuch x", "if nosuch; then up; fi", "nosuch () { up; }; nosuch"]
    {
        assert!(!warned(script), "{script}");
    }
}

/// The warnings of a config with so many watches of a registry.
fn demanded(watches: usize, image: &str, settings: &str, registry: &str) -> Vec<String> {
    let watch = |n: usize| format!("[watch.w{n}]\nimage = '{image}{n}'\n{settings}\n");
    let config: String = (0..watches).map(watch).chain([registry.to_owned()]).collect();
    let loaded = Folder::new(&config, &[]).load().unwrap();
    loaded.warnings.iter().map(|fault| fault.message().to_owned()).collect()
}

#[test]
fn what_is_asked_too_often_is_told_with_its_sum() {
    let none = Vec::<String>::new();
    assert_eq!(demanded(1, "public.ecr.aws/a/w", "schedule = '1s'", ""), none);
    assert_eq!(
        demanded(2, "public.ecr.aws/a/w", "schedule = '1s'", ""),
        [
            "registry \"public.ecr.aws\" is asked too often: 3,600 for \"w0\" and 3,600 for another make 7,200 requests an \
          hour, and its rate lets through 3,600 an hour, so checks will be late"
        ]
    );
    // A rate of ours does not move the registry's own limit; that of a mirror is its own.
    let raised = "[registry.'public.ecr.aws']\nrate = '10/s'\n";
    let found = demanded(2, "public.ecr.aws/a/w", "schedule = '1s'", raised);
    assert!(found[0].contains("it is known to let through 3,600 an hour"), "{found:?}");
    let mirrored = format!("{raised}endpoint = 'https://m.example'\n");
    assert_eq!(demanded(2, "public.ecr.aws/a/w", "schedule = '1s'", &mirrored), none);
    assert_eq!(demanded(2, "public.ecr.aws/a/w", "schedule = '1s'\nenabled = false", ""), none);
}

#[test]
fn docker_hub_counts_fetched_manifests_and_not_our_checks() {
    let none = Vec::<String>::new();
    assert_eq!(demanded(101, "w", "schedule = '1m'", ""), none, "6,060 HEAD requests an hour are free");
    assert_eq!(demanded(100, "w", "platform = 'linux/arm64'", ""), none);
    let found = demanded(101, "w", "platform = 'linux/arm64'", "");
    assert!(found[0].contains("fetches 101 manifests, and Docker Hub lets 100 through in 6 hours"), "{found:?}");
    let account = "[registry.'docker.io']\nusername = 'u'\npassword_file = '/etc/passwd'\n";
    assert_eq!(demanded(101, "w", "platform = 'linux/arm64'", account), none);
}
