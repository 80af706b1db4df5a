//! Hooks: carrying out a hook's action for one attempt, under supervision, and reporting the outcome.

mod action;
mod command;
mod message;

pub use action::{Action, Ran, run};
pub use command::listener::{Listener, Printed, Stream};
pub use command::options::{Command, masked, program};
pub use command::session::launch;
pub use command::survivors::{Left, end_survivors, left_of};
pub use message::{DELIVERY, Message};
