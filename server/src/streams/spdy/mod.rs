//! SPDY/3.1, as far as Kubernetes' clients speak it. Read in this order:
//!
//! - `dictionary`, `headers`: header blocks, compressed with SPDY's dictionary (pure);
//! - `frame`: frames from bytes and to bytes (pure);
//! - `handshake`: the HTTP/1.1 upgrade;
//! - `connection`: frames over a byte stream;
//! - `exec`: the streams of exec and attach.
//!
//! Flow control is TCP's: the clients that speak this protocol send no window updates and wait for none, so windows
//! are neither counted nor enforced.

mod connection;
mod dictionary;
mod exec;
mod frame;
mod handshake;
mod headers;

pub use connection::{Connection, Sender};
pub use exec::exec;
#[cfg(test)]
pub use frame::{Decoder, Encoder};
pub use frame::{Frame, REFUSED_STREAM};
pub use handshake::{EXEC_PROTOCOLS, FORWARD_PROTOCOL, Handshake};
pub use headers::Headers;
