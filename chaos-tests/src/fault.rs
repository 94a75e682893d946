//! One fault of a plan: what goes wrong, when, and for how long. What can go wrong is each plan's own. Pure.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault<Kind> {
    pub at_ms: u64,
    pub for_ms: u64,
    pub kind: Kind,
}

impl<Kind: fmt::Debug> Fault<Kind> {
    /// What kind it is of, without whom it meets.
    pub fn name(&self) -> String {
        let kind = format!("{:?}", self.kind);
        kind.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
    }
}

impl<Kind: fmt::Debug> fmt::Display for Fault<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} ms for {} ms", self.kind, self.at_ms, self.for_ms)
    }
}
