//! Other clients than kubectl against the live cluster: Python's and Rust's.

mod kube;
mod python;
