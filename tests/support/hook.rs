//! A hook that reports to the test when it runs, with what, and ends as the test says.
//!
//! The script connects to the test, sends its environment and its standard input, and waits for an exit status. So a run
//! is an event for the test, and lasts exactly as long as the test wants.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::DEADLINE;

pub struct Hook {
    script: PathBuf,
    calls: Receiver<Call>,
    /// The exit status that each run is given at once; `None`: the test answers for itself.
    exit: Arc<Mutex<Option<i32>>>,
}

/// One run of the hook.
pub struct Call {
    pub env: BTreeMap<String, String>,
    pub stdin: String,
    connection: BufReader<TcpStream>,
}

impl Hook {
    /// A hook whose runs succeed at once.
    pub fn create(script: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::fs::write(script, script_text(port)).unwrap();
        let exit = Arc::new(Mutex::new(Some(0)));
        let (sender, calls) = mpsc::channel();
        let answers = Arc::clone(&exit);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (sender, answers) = (sender.clone(), Arc::clone(&answers));
                std::thread::spawn(move || {
                    let Some(call) = Call::receive(connection) else { return };
                    let answer = *answers.lock().unwrap();
                    let mut stream = call.connection.get_ref().try_clone().unwrap();
                    // Told first, answered second: once a run has ended, the test can see that it was.
                    sender.send(call).ok();
                    if let Some(code) = answer {
                        writeln!(stream, "{code}").ok();
                    }
                });
            }
        });
        Self { script: script.to_owned(), calls, exit }
    }

    /// The value of `command`.
    pub fn toml(&self) -> String {
        format!("[\"/bin/bash\", {:?}]", self.script)
    }

    /// From now on each run ends at once, with this exit status.
    pub fn exits_with(&self, code: i32) {
        *self.exit.lock().unwrap() = Some(code);
    }

    /// From now on each run waits for [`Call::exit`].
    pub fn holds(&self) {
        *self.exit.lock().unwrap() = None;
    }

    /// The next run, waited for.
    pub fn call(&self) -> Call {
        self.calls.recv_timeout(DEADLINE).expect("the hook was not run")
    }

    /// The runs that nobody has asked for yet.
    pub fn more_calls(&self) -> Vec<Call> {
        self.calls.try_iter().collect()
    }

    /// The one and only run so far.
    pub fn only_call(&self) -> Call {
        let call = self.call();
        self.expect_no_call();
        call
    }

    pub fn expect_no_call(&self) {
        let more: Vec<_> = self.more_calls().into_iter().map(|call| call.stdin).collect();
        assert!(more.is_empty(), "the hook was run although it should not have been: {more:?}");
    }
}

impl Call {
    fn receive(connection: TcpStream) -> Option<Self> {
        connection.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut connection = BufReader::new(connection);
        let mut line = || {
            let mut line = String::new();
            connection.read_line(&mut line).ok()?;
            line.ends_with('\n').then(|| text_of_hex(line.trim_end()))
        };
        let (environ, stdin) = (line()?, line()?);
        let env = environ.split_terminator('\0').filter_map(|pair| pair.split_once('='));
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(Self { env, stdin, connection })
    }

    /// The value of a variable of the hook's environment.
    pub fn var(&self, name: &str) -> &str {
        self.env.get(name).unwrap_or_else(|| panic!("the hook has no {name}: {:#?}", self.env))
    }

    /// What the hook got on its standard input.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdin).unwrap_or_else(|error| panic!("{error} in {:?}", self.stdin))
    }

    /// Lets a held run end.
    pub fn exit(mut self, code: i32) {
        writeln!(self.connection.get_mut(), "{code}").expect("the hook still runs");
    }

    /// Waits until the run has ended otherwise than by our word.
    pub fn await_end(mut self) {
        match self.connection.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            other => panic!("the hook still runs: {other:?}"),
        }
    }
}

fn script_text(port: u16) -> String {
    format!(
        r#"# Tells the test that it runs, and with what; then ends as the test says, or with 98 if the test is gone.
exec 3<>/dev/tcp/127.0.0.1/{port} || exit 97
{{ od -An -v -tx1 "/proc/$$/environ" | tr -d ' \n'; echo; od -An -v -tx1 | tr -d ' \n'; echo; }} >&3
echo "the hook was run"
read -r answer <&3
exit "${{answer:-98}}"
"#
    )
}

fn text_of_hex(hex: &str) -> String {
    let bytes =
        hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    String::from_utf8(bytes.collect()).unwrap()
}
