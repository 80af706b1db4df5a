//! A registry that accepts every connection and never says a word.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};

use super::DEADLINE;

pub struct Silent {
    address: SocketAddr,
    asked: Receiver<()>,
}

impl Silent {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = mpsc::channel();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for connection in listener.incoming() {
                held.push(connection);
                if sender.send(()).is_err() {
                    break;
                }
            }
        });
        Self { address, asked }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Waits until somebody has connected.
    pub fn await_asked(&self) {
        self.asked.recv_timeout(DEADLINE).expect("nobody has asked the silent registry");
    }
}
