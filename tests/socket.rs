//! The control socket, asked as README.md says: with curl.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use support::bed::Bed;
use support::process::Output;
use support::sandbox::Who;

/// `curl --unix-socket SOCKET ARGS http://taghook/PATH`: the HTTP status, the content type and the body.
fn curl(bed: &Bed, args: &str, path: &str) -> (u16, String, String) {
    let socket = bed.state().join("control.sock");
    let line = format!(
        "curl -sS --max-time 30 -w '\\n%{{http_code}} %{{content_type}}' --unix-socket {} {args} http://taghook{path}",
        socket.display()
    );
    let Output { stdout, .. } = bed.shell(Who::Us, &line).expect(0);
    let (body, end) = stdout.rsplit_once('\n').unwrap();
    let (code, kind) = end.split_once(' ').unwrap();
    (code.parse().unwrap(), kind.to_owned(), body.to_owned())
}

fn json_of(bed: &Bed, args: &str, path: &str) -> (u16, Value) {
    let (code, kind, body) = curl(bed, args, path);
    assert!(kind.starts_with("application/"), "{path} {args}: {code} {kind}: {body}");
    (code, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

#[test]
fn curl_asks_and_acts_through_the_socket() {
    let bed = Bed::new();
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    let mode = std::fs::metadata(bed.state().join("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);

    let (code, status) = json_of(&bed, "", "/v1/status");
    assert_eq!((code, &status["source"], &status["watches"][0]["state"]), (200, &json!("agent"), &json!("ok")));
    assert_eq!(json_of(&bed, "", "/v1/health"), (200, json!({"ok": true, "watches": 1, "problems": []})));
    assert_eq!(
        json_of(&bed, "-d '{\"watches\": [\"web\"], \"paused\": true}'", "/v1/pause"),
        (200, json!({"changed": 1}))
    );
    bed.push("two");
    let (code, line) = json_of(&bed, "-d '{\"watches\": [\"web\"]}'", "/v1/check");
    assert_eq!((code, &line["outcome"], &line["deliveries"][0]["state"]), (200, &json!("moved"), &json!("pending")));
    assert_eq!(json_of(&bed, "-d '{\"watches\": [\"web\"], \"paused\": false}'", "/v1/pause").0, 200);
    bed.hook.call();
    agent.wait_for("hook succeeded", &[]);
    let id = line["deliveries"][0]["id"].as_str().unwrap();
    let (code, retried) = json_of(&bed, &format!("-d '{{\"ids\": [\"{id}\"]}}'"), "/v1/retry");
    assert_eq!((code, &retried[0]["hook"]), (200, &json!("redeploy")));
    assert_eq!(json_of(&bed, "-d '{}'", "/v1/prune"), (200, json!([])));
    assert_eq!(json_of(&bed, "-X POST", "/v1/reload").1["watches"], 1);
    agent.stop();
}

#[test]
fn health_is_told_with_a_status_of_its_own() {
    let bed = Bed::given_up();
    let agent = bed.agent();
    let (code, health) = json_of(&bed, "", "/v1/health");
    let problem = &health["problems"][0];
    assert_eq!(
        (code, &health["ok"], &problem["what"], &problem["hook"]),
        (503, &json!(false), &json!("failed"), &json!("redeploy"))
    );
    let told = "web: hook redeploy failed for `moved`, after attempt 2: ";
    assert!(problem["message"].as_str().unwrap().starts_with(told), "{problem}");
    agent.stop();
}

#[test]
fn what_cannot_be_answered_is_refused_in_json_with_the_reason() {
    let bed = Bed::new();
    bed.push("one");
    let agent = bed.agent();
    std::fs::write(bed.path().join("large"), vec![b' '; 3 << 20]).unwrap();
    for (args, path, code, reason) in [
        ("", "/", 404, "there is no \"/\"; there are GET /v1/status, "),
        ("", "/v1/stauts", 404, "there is no \"/v1/stauts\""),
        ("", "/v1/check", 405, "/v1/check takes POST, not GET"),
        ("-X DELETE", "/v1/status", 405, "/v1/status takes GET, not DELETE"),
        ("-d ''", "/v1/check", 400, "the body is not the JSON that is taken here: EOF"),
        ("-d '{\"watchs\": []}'", "/v1/check", 400, "unknown field `watchs`, expected `watches` or `dry_run`"),
        ("-d '{\"watches\": \"web\"}'", "/v1/check", 400, "expected a sequence"),
        ("-d '{\"watches\": [\"wbe\"]}'", "/v1/check", 404, "did you mean \"web\"?"),
        ("-d '{\"watches\": [\"wbe\"], \"paused\": true}'", "/v1/pause", 409, "did you mean \"web\"?"),
        ("-d '{\"ids\": [\"none\"]}'", "/v1/retry", 409, "none"),
        ("-H 'Expect:' --data-binary @large", "/v1/prune", 413, "length limit exceeded"),
    ] {
        let (found, answer) = json_of(&bed, args, path);
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("{path} {args}: {answer}"));
        assert_eq!(found, code, "{path} {args}: {error}");
        assert!(error.contains(reason), "{path} {args}: {error}");
    }
    agent.stop();
}
