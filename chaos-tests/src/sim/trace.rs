//! Everything that happened, in order: two runs of one seed must have the same. Decides nothing.

use std::fmt::Write as _;
use std::time::Duration;

/// What arrives over the network is much, so its times enter as a checksum; all else enters as text. (The bytes
/// themselves are encrypted with keys that no seed reaches: ring asks the kernel directly.)
#[derive(Default)]
pub struct Trace {
    text: String,
    times: crc32fast::Hasher,
    packets: u64,
}

impl Trace {
    pub fn line(&mut self, now_ms: u64, what: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{now_ms:>7} {what}").expect("a string has room");
    }

    pub fn packet(&mut self, from: usize, to: usize, at: Duration) {
        self.packets += 1;
        self.times.update(&[from as u8, to as u8]);
        self.times.update(&at.as_nanos().to_le_bytes());
    }

    pub fn text(&self) -> String {
        format!("{}packets {} checksum {:08x}\n", self.text, self.packets, self.times.clone().finalize())
    }
}
