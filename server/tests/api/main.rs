//! The REST door over a real store of one replica, asked by raw HTTP, by kube-rs and by stock kubectl.

mod bad_input;
mod harness;
mod kubectl;
mod objects;
mod past;
mod reads;
mod watch;
