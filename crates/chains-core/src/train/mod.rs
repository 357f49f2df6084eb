//! What training loops share: events and their observers, and state that resumes exactly.

mod event;
mod state;

pub use event::{Event, Observer};
pub use state::{Loaded, Parts, Progress, StateDir};
