//! No fault shows a secret, wherever it stands and whatever is wrong beside it.

use super::*;

/// What must not be shown; it begins every secret of these tests.
const SECRET: &str = "hunter2";

/// Everything that is said of a config: rendered, on one line, and part by part as JSON has it.
fn said(config: &str, fragments: &[(&str, &str)]) -> (usize, String) {
    let folder = Folder::new(config, fragments);
    let faults = match folder.load() {
        Ok(loaded) => loaded.warnings,
        Err(faults) => faults.0,
    };
    let mut said = render(&faults, false) + &render(&faults, true);
    for fault in &faults {
        said += &format!("\n{fault}\n{}\n{:?}\n{:?}", fault.message(), fault.remedy(), fault.first_defined());
        assert!(fault.file().is_none() || fault.line().is_some() && fault.column().is_some());
    }
    (faults.len(), said)
}

#[track_caller]
fn assert_hidden(config: &str) {
    // Twice, so that all that it defines is defined again.
    let (count, said) = said(config, &[("a.toml", config)]);
    assert!(count > 0, "nothing is wrong in:\n{config}");
    assert!(!said.contains(SECRET), "{config}\nis answered with\n{said}");
}

/// Settings that hold a secret, each in a table in which it may stand, and each faulty or beside a fault.
const SETTINGS: &[&str] = &[
    // Variables.
    "[hook.h]\nenv = { A = \"hunter2\", B = 7 } # hunter2",
    "[hook.h.env]\nimage = 'hunter2'\nB = 7",
    "[hook]\nh.env.A = 'hunter2'\nh.env.B = 7",
    "[hook.h]\nenv = 'hunter2'",
    "[hook.h]\nenv = ['hunter2']",
    "[hook.h]\nenv = { A = ['hunter2'] }",
    "[hook.h]\nenv = { A = \"hunter2\\u0000\" }",
    "[hook.h]\nenv = { A = \"\"\"\nhunter2\nx = 'hunter2'\"\"\", B = 7 }",
    "[hook.h]\nenv = { WEBHOOK = 'https://hooks.example/hunter2', P = 7 }",
    "[hook.h]\nenv = { 'A=hunter2' = 'x' }",
    "[hook.h]\nenv = { TOKEN = 'hunter2', TOKEN = 'hunter2' }",
    "[hook.h]\npass_env = ['A=hunter2', 'B']",
    "[hook.h]\npass_env = 'A=hunter2'",
    // Commands.
    "[hook.h]\ncommand = ['no-such', 'hunter2']",
    "[hook.h]\ncommand = ['no-such -p hunter2']",
    "[hook.h]\ncommand = 'no-such -u hunter2'",
    "[hook.h]\ncommand = ['sshpass', \"-p\", 'hunter2', 7]",
    "[hook.h]\ncommand = ['P=hunter2', 'x']",
    "[hook.h]\ncommand = { run = 'hunter2' }",
    "[hook.h]\ncommand = \"hunter2\\u0000\"",
    "[hook.h]\ncommand = [\n  'no-such', # hunter2\n  'hunter2',\n]",
    "[hook.h]\ncommand = 'true'\ncommand = 'hunter2'",
    // Keys and tables that nobody knows.
    "[hook.h]\ncomand = 'curl hunter2'",
    "[hook.h]\ncomand = 'curl https://hooks.example/hunter2'",
    "[hook.h]\npassword = \"hunter2\"",
    "[hook.h]\nargs = ['hunter2']",
    "[registry.a]\npassword = \"hunter2\" # hunter2",
    "[registry.ghcr.io]\npassword = 'hunter2'",
    "[wtach.w]\nimage = 'hunter2'",
    "[secrets]\ntoken = 'hunter2'",
    "image = 'hunter2'",
    "watch = 'hunter2'",
    "defaults = ['hunter2']",
    "hook.h = 'hunter2'",
    // URLs with a login or a query.
    "[watch.w]\nimage = 'https://u:hunter2@h/p?q'",
    "[watch.w]\nimage = 'https://h/p?token=hunter2'",
    "[watch.w]\nimage = 'u:hunter2@h/p'",
    "[watch.w]\nimage = ['https://u:hunter2@h/p']",
    "[defaults]\nschedule = 'https://u:hunter2@h/'\ntimezone = 'https://u:hunter2@h/'\nplatform = 'https://u:hunter2@h/'",
    "[defaults]\nhooks = ['https://u:hunter2@h/']",
    "[hook.h]\non = ['https://u:hunter2@h/']",
    "listen = 'http://u:hunter2@127.0.0.1:9464'",
    "[registry.h]\nca_file = 'https://u:hunter2@h/ca.pem'",
    "[registry.h]\nrate = 'https://h/?hunter2'",
    "[registry.h]\nendpoint = 'https://ann:hunter2@mirror/'",
    "[registry.h]\nendpoint = 'https://u:hu/hunter2@h/p'",
    "[registry.h]\nendpoint = 'https://u:hunter2/x@h/p'",
    "[registry.h]\nendpoint = 'https://u:hunter2:x/x@h/p'",
    "[registry.h]\nendpoint = 'ftp://h/hunter2'",
    "[registry.h]\nendpoint = ['https://h/hunter2']",
    "[registry.\"https://u:hunter2@h\"]\nrate = 7",
    "[registry.\"u:hunter2@h\"]\nrate = 7",
    // Neighbours on the line of a fault.
    "[hook.h]\ntimeout = '0s' # hunter2",
    "hook.h = { command = 'curl hunter2', timeout = '0s', env = { A = 'hunter2' } }",
    "[hook]\nh = { timeout = '0s', command = 'curl hunter2' }",
    "[watch.w]\nhooks = [\n  'a', # hunter2\n  'b',\n]",
    "[watch.w]\nhooks = ['a', { token = 'hunter2' }]",
    "[registry.h]\ntimeout = { password = 'hunter2' }",
];

/// The same where the file is not TOML: the secret may be torn from its key.
const BROKEN: &[&str] = &[
    "[hook.h]\ncommand = curl -u hunter2",
    "[hook.h]\ncommand = 'curl hunter2",
    "[hook.h]\ncommand = \"curl hunter2",
    "[hook.h]\ncommand = 'curl -u hunter2\n",
    "[hook.h]\ntimeout = '0s' password = 'hunter2'",
    "[registry.h]\npassword = hunter2==",
    "[registry.h]\npassword = \"hunter2",
    "[registry.b]\npassword = hunter2\n",
    "['x', 'hunter2']",
    "timezone 'hunter2'",
    "[watch.\"token.x\"] hunter2",
    "[watch.w\nhunter2 = 1",
    "[hook.h]\nenv = { A = \"\nhunter2=\n\" }",
    "[hook.h]\nenv = { A = \"\nhunter2 = 'x'\n\" }",
    "[hook.h]\nenv = { A = \"\n[hook.hunter2]\n\" }",
    "[hook.h]\nenv = { A = \"\n[watch.hunter2]\nimage = 'hunter2'\n\" }",
    "[hook.h]\nenv = { A = \"x\nhunter2 = 1\nhunter2 = 2\n\" }",
    "[hook.h]\ncommand = [\n  'curl', # hunter2\n  'hunter2',\nhunter2=\n[hook.i]\ntimeout = '5s'\nhunter2=\n",
    "schedule = \"\"\"5m\n[hook.h]\ncommand = 'hunter2'\n",
    "[defaults]\nschedule = \"\"\"5m\n[hook.h]\ncommand = 'hunter2'\n",
    "[defaults]\nschedule = '''5m\n[hook.h]\ncommand = '''hunter2'''\n",
    "[defaults]\nhooks = ['a',\n[hook.h]\nenv = { A = 'hunter2' }\n",
    "[watch.w]\nimage = \"hunter2\\x\"",
    "[watch.w]\nplatform = \"C:\\hunter2\"",
    "[hook.h]\nattempts = 0hunter2",
    "[hook.h]\nattempts = 1979-05-27Thunter2",
    "hunter2 hunter2 hunter2",
    "= 'hunter2'",
    "[hook.h]\nenv.A.x = 'hunter2'\nenv = 'hunter2",
    "[[hook]]\n[hook.h]\ncommand = 'hunter2'",
    "state = 'hunter2'\n[state.x]\ny = 'hunter2",
    "[hook.h]\nenv = { A = 'hunter2'\nB = 'hunter2' }\r",
    "a = \"hunter2\u{0}\"",
];

#[test]
fn a_setting_that_holds_a_secret_is_never_shown() {
    for setting in SETTINGS {
        assert_hidden(setting);
        assert_hidden(&setting.replace('\n', "\r\n"));
    }
}

#[test]
fn what_a_syntax_error_has_torn_from_its_key_is_never_shown() {
    for config in BROKEN {
        assert_hidden(config);
    }
    // Whatever is cut off, at any place, before another table.
    let behind = "\n[hook.i]\ncommand = 'curl hunter2'\ntimeout = '0s'\nenv = { A = \"hunter2\" }\n";
    for config in SETTINGS {
        for (at, _) in config.char_indices() {
            let config = format!("{}{behind}", &config[..at]);
            let (_, said) = said(&config, &[]);
            assert!(!said.contains(SECRET), "{config}\nis answered with\n{said}");
        }
    }
}

#[test]
fn the_parsers_words_have_nothing_of_the_file() {
    for config in SETTINGS.iter().chain(BROKEN) {
        for (at, _) in config.char_indices() {
            for broken in [config[..at].to_owned(), format!("{}\"{}", &config[..at], &config[at..])] {
                let (_, errors) = toml::de::DeTable::parse_recoverable(&broken);
                let ours = crate::config::syntax::errors(&broken).into_iter().map(|error| error.message);
                for message in errors.iter().map(|error| error.message().to_owned()).chain(ours) {
                    assert!(!message.contains(SECRET), "{broken}: {message}");
                }
            }
        }
    }
}

#[test]
fn harmless_settings_are_quoted_without_the_rest_of_their_lines() {
    let said = faults("[hook]\n  h = { command = 'true', timeout = \"0s\" } # hunter2\n[watch.w]\nhooks = ['a'] # x\n");
    assert!(said.contains("\n2 |                           timeout = \"0s\"\n"), "{said}");
    assert!(said.contains("\n4 | hooks = ['a']\n"), "{said}");
}

/// A config as people write it, with a secret in each place where one may stand.
const WHOLE: &str = r#"
state = "/var/lib/taghook" # hunter2
[defaults]
schedule = "15m"
timezone = "Europe/Berlin"
hooks = ["deploy", "tell"]
[watch.web]
image = "ghcr.io/acme/web:stable"
platform = "linux/amd64"
settle = "1h"
[watch."api.v2"]
image = "registry.example.com:5000/api"
hooks = [
    "deploy", # curl -u hunter2
    "tell",
]
[hook.deploy]
command = """
set -eu
curl -u "ann:hunter2" https://example.com/hunter2
PASSWORD='hunter2' exec deploy --token="hunter2"
"""
timeout = "5m"
env = { TOKEN = "hunter2", KEY = 'hunter2' }
[hook.tell]
command = ["/bin/true", "--password", "hunter2", 'hunter2']
on = ["moved", "failing"]
attempts = 3
[hook.tell.env]
URL = "https://ann:hunter2@example.com/?hunter2"
CERTIFICATE = '''
-----BEGIN-----
hunter2
'''
[registry."registry.example.com:5000"]
username = "ann"
password_file = "/run/hunter"
rate = "5/s"
"#;

/// What is typed by mistake, or forgotten.
const SIGNS: [&str; 14] = ["\"\"\"", "'''", "\"", "'", "[", "]", "{", "}", "=", ",", ".", "\n", "#", "\\"];

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 1000, ..Default::default() })]

    #[test]
    fn a_config_that_is_torn_anywhere_shows_no_secret_and_says_all_in_short_lines(
        tears in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0..SIGNS.len(), proptest::prelude::any::<bool>()), 1..4),
    ) {
        let mut config = WHOLE.to_owned();
        for (place, sign, is_added) in tears {
            let sign = SIGNS[sign];
            if is_added {
                config.insert_str(place.index(config.len()), sign);
            } else {
                let places: Vec<usize> = config.match_indices(sign).map(|(at, _)| at).collect();
                if let Some(at) = places.get(place.index(places.len().max(1))) {
                    config.replace_range(*at..at + sign.len(), "");
                }
            }
        }
        let folder = Folder::new(&config, &[]);
        let faults = match folder.load() {
            Ok(loaded) => loaded.warnings,
            Err(faults) => faults.0,
        };
        for fault in &faults {
            let line = fault.to_string();
            assert!(!line.contains(['\n', '\r']) && line.chars().count() < 1000, "{config}\nis answered with\n{line}");
            assert!(!line.contains(SECRET), "{config}\nis answered with\n{line}");
        }
        let rendered = render(&faults, false);
        assert!(!rendered.contains(SECRET), "{config}\nis answered with\n{rendered}");
    }
}

#[test]
fn a_value_that_goes_on_over_lines_is_told_and_not_quoted_and_neither_is_what_follows() {
    for section in &crate::config::sections::SECTIONS {
        let header = section.header.replace("NAME", "x").replace("HOST", "x");
        for key in (section.keys)().iter().filter(|key| key.kind.longest().is_some()) {
            for (open, close) in [("\"\"\"", "\"\"\""), ("'''", "'''"), ("['''", "''']"), ("\"x\\n", "\"")] {
                let config = format!("{header}\n{} = {open}5m\"hunter2\nx{close}\nhunter2x = 1\n", key.name);
                let config = if open == "\"x\\n" { config.replacen("5m\"hunter2\nx", "hunter2", 1) } else { config };
                let (count, said) = said(&config, &[]);
                assert!(count > 0 && !said.contains(SECRET), "{config}\nis answered with\n{said}");
            }
            let longest = key.kind.longest().unwrap();
            let (count, said) = said(&format!("{header}\n{} = '{}'\n", key.name, "hunter2".repeat(longest)), &[]);
            assert!(count > 0 && !said.contains(SECRET), "{} is too long:\n{said}", key.name);
        }
    }
}

#[test]
fn a_name_that_is_too_long_is_cut_where_it_is_told() {
    let name = format!("{}hunter2", "x".repeat(128));
    for config in [
        format!("{name} = 1"),
        format!("[{name}]"),
        format!("[hook.{name}]"),
        format!("[watch.{name}]\nimage = 7\nhooks = [7]\ncolour = 1"),
        format!("[registry.{name}]\ncolour = 1\n[registry.\"{name}.{}\"]\nrate = 1", "y".repeat(300)),
        format!("[hook.h.env]\n{name} = 1"),
        format!("[hook.h]\nenv = {{ TAGHOOK_{name} = '1' }}\npass_env = 'TAGHOOK_{name}{name}'"),
        format!("[hook.h]\nenv = {{ {name} = '1', {name} = '2' }}"),
        format!("[hook.h]\ncommand = ['{name}']"),
        format!("[hook.h]\nattempts = {}\ntimeout = {0}", "1".repeat(200) + "_0"),
    ] {
        let (count, said) = said(&config, &[]);
        let is_long = said.contains(&"1".repeat(129));
        assert!(count > 0 && !said.contains(SECRET) && !is_long, "{config}\nis answered with\n{said}");
    }
}
