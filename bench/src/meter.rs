//! What a stretch of work costs: the members' processor time and syncs, and what the driver takes itself. Acts.

use tokio::time::Instant;

use crate::load::Measured;
use crate::member;
use crate::syncs::Counter;
use crate::system::System;

/// Runs from its start on.
pub struct Meter {
    counter: Option<Counter>,
    cpu_us: u64,
    generator_us: u64,
    pub start: Instant,
}

impl Meter {
    pub async fn start(system: &System) -> Meter {
        let counter = Counter::start(&system.pids()).await;
        Meter { counter, cpu_us: system.cpu_us(), generator_us: member::cpu_us("self"), start: Instant::now() }
    }

    /// Writes down what there was since the start.
    pub async fn stop(self, system: &System, measured: &mut Measured) {
        measured.wall = self.start.elapsed();
        measured.cpu_us = system.cpu_us() - self.cpu_us;
        measured.generator_us = member::cpu_us("self") - self.generator_us;
        if let Some(counter) = self.counter {
            measured.syncs = counter.stop().await;
        }
    }
}
