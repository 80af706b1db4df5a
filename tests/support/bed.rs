//! The usual scene: one registry, one image, one watch named `web`, one hook named `redeploy`.

use std::ops::Deref;

use serde_json::Value;

use super::distribution::Distribution;
use super::hook::Hook;
use super::process::Output;
use super::sandbox::Sandbox;

pub const REPOSITORY: &str = "team/web";
pub const TAG: &str = "stable";

pub struct Bed {
    pub registry: Distribution,
    pub hook: Hook,
    sandbox: Sandbox,
}

/// The parts of the config that a test wants otherwise, as TOML lines.
pub struct Setup {
    /// Before all tables.
    pub top: &'static str,
    /// In `[watch.web]`.
    pub watch: &'static str,
    /// In `[hook.redeploy]`.
    pub hook: &'static str,
    /// In the registry's table.
    pub registry: &'static str,
}

impl Default for Setup {
    /// Due in weeks, so that whoever checks is whom the test asked to.
    fn default() -> Self {
        Self { top: "", watch: "schedule = '30d'", hook: "backoff = '1ms'", registry: "" }
    }
}

impl Bed {
    /// The registry holds nothing yet.
    pub fn new() -> Self {
        Self::with(Setup::default())
    }

    pub fn with(setup: Setup) -> Self {
        Self::inside(Sandbox::new(), setup)
    }

    pub fn inside(sandbox: Sandbox, setup: Setup) -> Self {
        let bed = Self { registry: Distribution::start(), hook: sandbox.hook(), sandbox };
        bed.write(&setup);
        bed
    }

    /// One whose hook has failed twice for the newest digest, and is given up.
    pub fn given_up() -> Self {
        let bed = Self::with(Setup { hook: "attempts = 2\nbackoff = '1ms'", ..Setup::default() });
        bed.push("one");
        bed.check(0);
        bed.push("two");
        bed.hook.exits_with(3);
        bed.check(1);
        bed.hook.exits_with(4);
        // The pause is of a millisecond at most, so the delivery is due.
        bed.check(1);
        assert_eq!(bed.deliveries()[0]["state"], "failed");
        bed
    }

    fn write(&self, setup: &Setup) {
        let Setup { top, watch, hook, registry } = setup;
        let (host, image, command) = (self.registry.host(), self.image(), self.hook.toml());
        self.sandbox.write_whole_config(&format!(
            "{top}\n\
             [watch.web]\nimage = '{image}'\nhooks = ['redeploy']\n{watch}\n\
             [hook.redeploy]\ncommand = {command}\n{hook}\n\
             [registry.'{host}']\nplain_http = true\n{registry}\n"
        ));
    }

    /// The watched reference, in full.
    pub fn image(&self) -> String {
        format!("{}/{REPOSITORY}:{TAG}", self.registry.host())
    }

    /// Points the watched tag at a new image.
    pub fn push(&self, salt: &str) -> String {
        self.registry.push_image(REPOSITORY, TAG, salt)
    }

    /// `taghook check --json`, with its exit status.
    #[track_caller]
    pub fn check(&self, code: i32) -> Value {
        one(&self.run(&["check", "--json"]).expect(code))
    }

    #[track_caller]
    pub fn history(&self) -> Vec<Value> {
        self.run(&["history", "--json"]).expect(0).json_lines()
    }

    #[track_caller]
    pub fn deliveries(&self) -> Vec<Value> {
        self.run(&["deliveries", "--json"]).expect(0).json_lines()
    }

    /// The only watch of `taghook status --json`.
    #[track_caller]
    pub fn status(&self) -> Value {
        let mut status = self.run(&["status", "--json"]).expect(0).json();
        assert_eq!(status["watches"].as_array().map(Vec::len), Some(1), "{status:#}");
        status["watches"][0].take()
    }
}

/// The only line of an output, as JSON.
#[track_caller]
pub fn one(output: &Output) -> Value {
    let mut lines = output.json_lines();
    assert_eq!(lines.len(), 1, "{output:#?}");
    lines.remove(0)
}

impl Deref for Bed {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}
