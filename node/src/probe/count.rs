//! Decides when a row of answers makes an opinion. Pure.

use k8s_openapi::api::core::v1::Probe;

use crate::sync::ProbeKind;

#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    pub success: u32,
    pub failure: u32,
}

impl Thresholds {
    pub fn of(probe: &Probe) -> Thresholds {
        let positive = |value: Option<i32>, default: i32| value.unwrap_or(default).max(1) as u32;
        Thresholds { success: positive(probe.success_threshold, 1), failure: positive(probe.failure_threshold, 3) }
    }
}

#[derive(Debug)]
pub struct Counter {
    thresholds: Thresholds,
    opinion: Option<bool>,
    last: Option<bool>,
    row: u32,
}

impl Counter {
    /// Liveness is presumed, readiness and start are not.
    pub fn new(thresholds: Thresholds, kind: ProbeKind) -> Counter {
        let opinion = (kind == ProbeKind::Liveness).then_some(true);
        Counter { thresholds, opinion, last: None, row: 0 }
    }

    /// `Some` when this answer changes the opinion.
    pub fn note(&mut self, success: bool) -> Option<bool> {
        self.row = if self.last == Some(success) { self.row.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let needed = if success { self.thresholds.success } else { self.thresholds.failure };
        if self.row < needed || self.opinion == Some(success) {
            return None;
        }
        self.opinion = Some(success);
        Some(success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinions(kind: ProbeKind, success: u32, failure: u32, answers: &str) -> String {
        let mut counter = Counter::new(Thresholds { success, failure }, kind);
        let word = |opinion| match opinion {
            None => '.',
            Some(true) => 'S',
            Some(false) => 'F',
        };
        answers.chars().map(|answer| word(counter.note(answer == '+'))).collect()
    }

    #[test]
    fn thresholds_count_rows() {
        assert_eq!(opinions(ProbeKind::Readiness, 1, 3, "+--+---+"), "S.....FS");
        assert_eq!(opinions(ProbeKind::Readiness, 2, 1, "+-+++"), ".F.S.");
        assert_eq!(opinions(ProbeKind::Liveness, 1, 3, "+++---"), ".....F");
        assert_eq!(opinions(ProbeKind::Startup, 1, 3, "--+"), "..S");
        assert_eq!(opinions(ProbeKind::Startup, 1, 2, "---"), ".F.");
    }
}
