//! The config: the files as written → what they mean, or every fault at once with its place.
//!
//! [`find()`] says which file it is; [`load()`] reads it with the fragments beside it; [`effective()`] says what is in
//! force. Each key is defined by one [`row`]: in `top`, `retention`, `watches`, `hooks` or `registries`. Relative paths
//! start at the folder of the file that they are written in.
//!
//! *Invariant:* a config either is returned whole and checked, or is refused with all of its faults.

mod acting;
mod demand;
mod effective;
mod fault;
mod files;
mod find;
mod hooks;
mod identity;
mod inspect;
mod key;
mod load;
mod log;
mod merged;
mod model;
mod named;
mod names;
mod parse;
mod pool;
mod programs;
mod quote;
mod registries;
mod retention;
mod row;
mod schema;
mod sections;
mod show;
mod source;
mod suggest;
mod syntax;
#[cfg(test)]
mod tests;
mod top;
mod trust;
mod unknown;
mod values;
mod wait;
mod walk;
mod watches;
mod zones;

pub use effective::{Effective, Origin, Setting, ShownTable, effective};
pub use fault::{Fault, Faults, Level, render};
pub use files::identity;
pub use find::{find, path_for_new, runtime_directory};
pub use load::{load, load_again, read, state_directory};
pub use model::{Config, Hook, Loaded, RegistryConfig};
pub use schema::schema;
pub use show::human_duration;
pub use suggest::nearest;
pub use wait::is_there;
