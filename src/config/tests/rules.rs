//! The rules that a config is held to, and what is said of their breach.

use super::*;

/// The message and remedy of each fault, and its line and column.
fn messages(config: &str) -> Vec<String> {
    let faults = Folder::new(config, &[]).load().unwrap_err();
    let text = |fault: &Fault| {
        let remedy = fault.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        format!("{}:{} {}{remedy}", fault.line().unwrap(), fault.column().unwrap(), fault.message())
    };
    faults.iter().map(text).collect()
}

#[test]
fn names_are_fit_for_file_names_and_urls() {
    let long = "x".repeat(129);
    assert_eq!(
        messages(&format!(
            "[watch.\"we b\"]\nimage = \"a\"\n[watch.-x]\nimage = \"a\"\n[hook.\"\"]\ncommand = \"true\"\n[hook.{long}]\ncommand = \"true\"\n"
        )),
        [
            "1:11 watch \"we b\": a name cannot have ' '; it is made of letters, digits, \".\", \"_\" and \"-\""
                .to_owned(),
            "3:8 watch \"-x\": a name starts with a letter or a digit".to_owned(),
            "5:8 hook \"\": a name starts with a letter or a digit".to_owned(),
            format!("7:7 hook \"{}…\": a name is at most 128 characters long, not 129", "x".repeat(128)),
        ]
    );
}

#[test]
fn a_hook_has_a_command_and_sensible_limits() {
    assert_eq!(
        messages(
            "[hook.a]\n[hook.b]\ncommand = []\non = []\ntimeout = \"0s\"\nattempts = 0\nbackoff = \"2h\"\n\
             [hook.c]\ncommand = \"  \"\non = [\"mvoed\", \"x\"]\nconcurrency = -1\ncwd = \"~/x\"\ntimeout = \"9999999h\"\n"
        ),
        [
            "1:7 hook \"a\": there is no command; add for example command = [\"/usr/local/bin/redeploy\", \"web\"]",
            "3:11 hook \"b\": command names no program; write for example [\"/bin/echo\", \"moved\"]",
            "4:6 hook \"b\": on is empty, so the hook would never run; write for example [\"moved\"]",
            "5:11 hook \"b\": timeout \"0s\" is too short; write for example \"30s\"",
            "6:12 hook \"b\": attempts 0 is out of range; it is at least 1",
            "7:11 hook \"b\": backoff (2h) is longer than backoff_max (1h); raise backoff_max",
            "9:11 hook \"c\": command names no program; write for example [\"/bin/echo\", \"moved\"]",
            "10:7 hook \"c\": on: there is no change \"mvoed\"; did you mean \"moved\"?",
            "10:16 hook \"c\": on: there is no change \"x\"; changes are first, moved, removed, restored, failing, recovered",
            "11:15 hook \"c\": concurrency -1 is out of range; it is at least 1",
            "12:8 hook \"c\": cwd \"~/x\" is taken as it is written; write the whole path",
            "13:11 hook \"c\": timeout \"9999999h\" is too long; at most a year (\"366d\") is allowed",
        ]
    );
}

#[test]
fn what_belongs_to_the_agent_is_not_given_to_hooks() {
    let config = "[hook.a]\ncommand = \"true\"\nenv = { TAGHOOK_TAG = \"1\", \"A=B\" = \"\" }\n\
                  pass_env = [\"NOTIFY_SOCKET\", \"WATCHDOG_USEC\", \"CREDENTIALS_DIRECTORY\", \"TAGHOOK_CONFIG\", \"HOME\"]\n";
    let found = messages(config);
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(found[0].starts_with("3:9 hook \"a\": env: \"TAGHOOK_TAG\" is taghook's own"));
    assert!(found[1].starts_with("3:28 hook \"a\": env: \"A=…\" is not the name"));
    assert!(found[2].starts_with("4:13 hook \"a\": pass_env: \"NOTIFY_SOCKET\" belongs to the agent"));
}

#[test]
fn a_registry_is_checked_too() {
    assert_eq!(
        messages(
            "[registry.a]\nusername = \"u\"\nrate = \"5\"\nendpoint = \"mirror\"\ntimeout = \"x\"\n\
             [registry.b]\npassword_file = \"/x\"\nrate = \"0/s\"\nendpoint = \"https://a/?q\"\nconcurrency = 0\n\
             [registry.\"https://c\"]\n[registry.d]\nplain_http = true\nendpoint = \"http://x\"\n[registry.\"e:0\"]\n"
        ),
        [
            "2:1 registry \"a\": username needs password_file; add password_file, or remove username",
            "3:8 registry \"a\": rate \"5\" is not a rate; write for example \"10/s\", \"600/m\" or \"1000/h\"",
            "4:12 registry \"a\": endpoint: it is not a URL; write for example \"https://mirror.example.com/hub\"",
            "5:11 registry \"a\": timeout \"x\" is not a duration; write for example \"30s\", \"15m\", \"1h 30m\" or \"3d\"",
            "7:1 registry \"b\": password_file needs username; add username, or remove password_file",
            "8:8 registry \"b\": rate \"0/s\" is out of range; a rate is at least \"0.05/h\" and at most \"1000000/s\"",
            "9:12 registry \"b\": endpoint: it has a query or a fragment; write for example \"https://mirror.example.com/hub\"",
            "10:15 registry \"b\": concurrency 0 is out of range; it is at least 1",
            "11:17 registry \"https://c\": a registry is named by its host alone, as in [registry.\"registry.example.com:5000\"]",
            "13:1 registry \"d\": plain_http has no effect beside endpoint, whose scheme says it; remove plain_http",
            "15:13 registry \"e:0\": `0` is not a port number",
            "7:17 registry \"b\": password_file: /x does not exist",
        ]
    );
}

#[test]
fn keys_that_go_together_or_not_are_told() {
    assert_eq!(
        messages(
            "[registry.a]\npassword_credential = \"robot\"\nclient_cert = \"/etc/hostname\"\n\
             [registry.b]\nusername = \"u\"\npassword_file = \"/etc/hostname\"\npassword_credential = \"../robot\"\n\
             [registry.c]\nclient_key = \"/etc/hostname\"\nauth_file = 1\n"
        ),
        [
            "2:1 registry \"a\": password_credential needs username; add username, or remove password_credential",
            "3:1 registry \"a\": client_cert needs client_key; add client_key, or remove client_cert",
            "7:1 registry \"b\": there are two passwords, password_file and password_credential; remove one",
            "7:23 registry \"b\": password_credential \"../robot\" is not the name of a credential; write it as in LoadCredential=NAME:FILE",
            "9:1 registry \"c\": client_key needs client_cert; add client_cert, or remove client_key",
            "10:13 registry \"c\": auth_file must be a string, not an integer; put it in quotes",
        ]
    );
}

#[test]
fn no_secret_is_shown() {
    let faults = Folder::new(
        "[watch.a]\nimage = \"https://ann:hunter2@ghcr.io/x\"\n[registry.a]\npassword = \"hunter2\"\n\
         endpoint = \"https://ann:hunter2@mirror/\"\n[hook.h]\ncommand = 3\nenv = { API_TOKEN = \"hunter2\", B = 1 }\n",
        &[("a.toml", "[registry.b]\npassword = hunter2\n")],
    );
    for colour in [true, false] {
        let text = faults.load().unwrap_err().render(colour);
        assert!(!text.contains("hunter2"), "{text}");
    }
    let lines: String = faults.load().unwrap_err().iter().map(|fault| format!("{fault}\n")).collect();
    assert!(!lines.contains("hunter2"), "{lines}");
}

#[test]
fn what_may_stand_in_an_unreadable_part_is_not_called_missing() {
    let config = "[watch.a]\nhooks = [\"h\"]\nimage = \"nginx\n";
    let found = messages(config);
    assert!(found.len() == 1 && found[0].starts_with("3:15 this is not TOML: "), "{found:?}");
}

#[test]
fn a_long_list_of_faults_is_cut_and_counted() {
    let config: String = (0..130).map(|n| format!("x{n} = 1\n")).collect();
    assert!(faults(&config).ends_with("\n\nand 30 more"));
    assert_eq!(messages(&config).len(), 130);
}

#[test]
fn a_fault_on_one_line_has_its_place_and_remedy() {
    let folder = Folder::new("sokcet = \"/x\"\n", &[]);
    let faults = folder.load().unwrap_err();
    let line = faults.iter().next().unwrap().to_string();
    assert_eq!(line, format!("{}:1:1: unknown key \"sokcet\"; did you mean \"socket\"?", folder.path().display()));
}
