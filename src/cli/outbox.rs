//! Messages to a reader that may stand still, sent by a thread of their own, in order.
//!
//! *Invariant:* who puts a message in never waits for the reader. What may wait here is bounded by who puts it in.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Messages that there is always room for.
const KEPT_CAPACITY: usize = 64;

pub(super) struct Outbox<T> {
    shared: Arc<Queue<T>>,
}

struct Queue<T> {
    messages: Mutex<Messages<T>>,
    changed: Condvar,
}

struct Messages<T> {
    waiting: VecDeque<T>,
    is_sending: bool,
}

impl<T: Send + 'static> Outbox<T> {
    /// Starts the thread, which calls `send` with each message and lasts as long as the process.
    pub(super) fn start(name: &str, mut send: impl FnMut(T) + Send + 'static) -> io::Result<Self> {
        let messages = Mutex::new(Messages { waiting: VecDeque::new(), is_sending: false });
        let shared = Arc::new(Queue { messages, changed: Condvar::new() });
        let mine = shared.clone();
        let work = move || {
            loop {
                send(mine.next());
                mine.lock().is_sending = false;
                mine.changed.notify_all();
            }
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { shared })
    }

    /// Adds messages, or takes back some that wait.
    pub(super) fn put(&self, change: impl FnOnce(&mut VecDeque<T>)) {
        change(&mut self.shared.lock().waiting);
        self.shared.changed.notify_all();
    }

    /// Waits until all messages are sent, at most for `limit`. Says whether they are.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let is_busy = |messages: &mut Messages<T>| messages.is_sending || !messages.waiting.is_empty();
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), limit, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, Messages<T>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> T {
        let mut messages = self.lock();
        loop {
            if let Some(message) = messages.waiting.pop_front() {
                messages.is_sending = true;
                return message;
            }
            // Much may have waited once.
            messages.waiting.shrink_to(KEPT_CAPACITY);
            messages = self.changed.wait(messages).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn who_puts_a_message_in_does_not_wait_and_a_flush_ends() {
        let (sent, seen) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let outbox = Outbox::start("test", move |message: u32| {
            let _ = gone.recv();
            let _ = sent.send(message);
        })
        .unwrap();
        for message in 1..=3 {
            outbox.put(|waiting| waiting.push_back(message));
        }
        assert!(!outbox.flush(Duration::from_millis(1)), "nothing was sent yet");
        drop(go);
        assert!(outbox.flush(LONG));
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
