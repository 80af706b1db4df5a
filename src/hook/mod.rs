//! What hooks do: one run of an action, supervised, and what it came to.

mod action;
mod command;
mod message;

pub use action::{Action, run};
pub use command::options::{Command, masked, program};
pub use command::output::Stream;
pub use command::survivors::end_survivors;
pub use message::{DELIVERY, Message};
