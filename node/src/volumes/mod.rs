//! A Pod's volumes: `content` decides what is in them, `write` puts it on the disk.

mod content;
mod write;

#[cfg(test)]
mod tests;

pub use content::{File, Missing, Plan, Source, fingerprint, plan};
pub use write::{Error, prepare_mount, remove_pod, set_up, touch_message};
