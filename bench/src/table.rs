//! The tables, in Markdown. Pure.

use std::time::Duration;

use crate::gaps::Interrupted;
use crate::load::Measured;
use crate::quiet::{Idle, Unrest};
use crate::stats::Samples;
use crate::syncs::Tool;
use crate::system::Kind;

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub fn head(operation: &str) -> String {
    format!(
        "| {operation} | clients | system | per second | p50 ms | p99 ms | CPU µs each | syncs each | failed | generator, cores \
         | rate / etcd | p50 / etcd | p99 / etcd | CPU / etcd |\n|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
}

/// One workload, all systems. `CPU µs` and `syncs` are of all three members together.
pub fn rows(workload: &str, clients: usize, measured: &[(Kind, Measured)]) -> String {
    let lines: Vec<Line> = measured.iter().map(|(kind, measured)| Line::of(*kind, measured)).collect();
    let etcd = lines.iter().find(|line| line.kind == Kind::Etcd);
    let rows = lines.iter().map(|line| {
        let ratio = |of: fn(&Line) -> f64| match etcd {
            Some(etcd) if etcd.kind != line.kind && of(etcd) > 0.0 => format!("{:.2}", of(line) / of(etcd)),
            _ => String::new(),
        };
        let syncs = line.syncs.map_or("?".into(), |(each, by)| format!("{each:.3} {}", by.name()));
        format!(
            "| {workload} | {clients} | {} | {:.0} | {:.2} | {:.2} | {:.0} | {syncs} | {} | {:.2} | {} | {} | {} | {} |",
            line.kind.name(),
            line.rate,
            line.p50,
            line.p99,
            line.cpu,
            line.failed,
            line.generator,
            ratio(|line| line.rate),
            ratio(|line| line.p50),
            ratio(|line| line.p99),
            ratio(|line| line.cpu),
        )
    });
    rows.collect::<Vec<_>>().join("\n")
}

struct Line {
    kind: Kind,
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    syncs: Option<(f64, Tool)>,
    failed: usize,
    generator: f64,
}

impl Line {
    fn of(kind: Kind, measured: &Measured) -> Line {
        let count = measured.took.len().max(1) as f64;
        let samples = measured.samples();
        Line {
            kind,
            rate: measured.per_second(),
            p50: ms(samples.quantile(0.5)),
            p99: ms(samples.quantile(0.99)),
            cpu: measured.cpu_us as f64 / count,
            syncs: measured.syncs.map(|syncs| (syncs.calls as f64 / count, syncs.by)),
            failed: measured.failed,
            generator: measured.generator_us as f64 / 1e6 / measured.wall.as_secs_f64(),
        }
    }
}

pub const GAPS: &str = "| the leader | system | times | p50 ms | p90 ms | p99 ms | max ms | was over after ms | writes acknowledged |\n\
                        |---|---|--:|--:|--:|--:|--:|--:|--:|";

/// One sort of interruption, all systems; none that was never interrupted.
pub fn gaps(how: &str, interrupted: &[(Kind, Interrupted)]) -> String {
    let rows = interrupted.iter().filter(|(_, seen)| !seen.gaps.is_empty()).map(|(kind, seen)| {
        let (name, times) = (kind.name(), seen.gaps.len());
        let samples = Samples::new(seen.gaps.iter().map(|gap| gap.long).collect());
        let over_after = seen.gaps.iter().max_by_key(|gap| gap.long).map_or(0.0, |gap| ms(gap.over_after));
        let at = |part| ms(samples.quantile(part));
        let (p50, p90, p99, max) = (at(0.5), at(0.9), at(0.99), at(1.0));
        let seen = seen.writes;
        format!("| {how} | {name} | {times} | {p50:.0} | {p90:.0} | {p99:.0} | {max:.0} | {over_after:.0} | {seen} |")
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// The ratios are to the mean of etcd's members.
pub fn idle(members: &[Idle]) -> String {
    let head = "| member | leads | resident MiB | of it anonymous | of a core | resident / etcd | core / etcd |\n\
                |---|---|--:|--:|--:|--:|--:|"
        .to_owned();
    let etcd = |of: fn(&Idle) -> f64| {
        let all: Vec<f64> = members.iter().filter(|member| member.kind == Kind::Etcd).map(of).collect();
        all.iter().sum::<f64>() / all.len().max(1) as f64
    };
    let rows = members.iter().map(|member| {
        let ratio = |of: fn(&Idle) -> f64| match etcd(of) {
            etcd if member.kind != Kind::Etcd && etcd > 0.0 => format!("{:.2}", of(member) / etcd),
            _ => String::new(),
        };
        let mib = |kib: u64| kib as f64 / 1024.0;
        format!(
            "| {} | {} | {:.1} | {:.1} | {:.2} % | {} | {} |",
            member.name,
            if member.leads { "yes" } else { "" },
            mib(member.memory.resident),
            mib(member.memory.anonymous),
            member.core * 100.0,
            ratio(|member| member.memory.resident as f64),
            ratio(|member| member.core),
        )
    });
    std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
}

pub fn unrest(systems: &[Unrest]) -> String {
    let head = "| system | elections that nobody caused | writes meanwhile |\n|---|--:|--:|".to_owned();
    let rows = systems.iter().map(|system| format!("| {} | {} | {} |", system.name, system.elections, system.writes));
    std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gaps::Gap;
    use crate::member::Memory;
    use crate::syncs::Syncs;

    fn measured(calls: usize, ms: u64) -> Measured {
        let took = vec![Duration::from_millis(ms); calls];
        let wall = Duration::from_secs(1);
        let syncs = Some(Syncs { calls: 50, by: Tool::Perf });
        Measured { took, failed: 0, wall, cpu_us: 1_000_000, generator_us: 500_000, syncs }
    }

    #[test]
    fn ratios_are_to_etcd() {
        let text = rows("put", 64, &[(Kind::Etcd, measured(100, 8)), (Kind::Store, measured(400, 2))]);
        let expected = "\
| put | 64 | etcd | 100 | 8.00 | 8.00 | 10000 | 0.500 perf | 0 | 0.50 |  |  |  |  |
| put | 64 | store | 400 | 2.00 | 2.00 | 2500 | 0.125 perf | 0 | 0.50 | 4.00 | 0.25 | 0.25 | 0.25 |";
        assert_eq!(text, expected);
    }

    #[test]
    fn without_etcd_there_is_no_ratio() {
        let text = rows("put", 1, &[(Kind::Store, measured(10, 1))]);
        assert!(text.ends_with("| 0.50 |  |  |  |  |"), "{text}");
        let text = idle(&[member(Kind::Store, 10, 0.5)]);
        assert!(text.ends_with("| 50.00 % |  |  |"), "{text}");
    }

    fn member(kind: Kind, mib: u64, core: f64) -> Idle {
        let memory = Memory { resident: mib << 10, anonymous: 1 << 10 };
        Idle { kind, name: kind.name().into(), leads: kind == Kind::Store, memory, core }
    }

    #[test]
    fn idle_members_are_held_against_the_mean_of_etcd() {
        let text = idle(&[member(Kind::Etcd, 20, 0.01), member(Kind::Etcd, 40, 0.03), member(Kind::Store, 15, 0.005)]);
        assert!(text.contains("\n| etcd |  | 40.0 | 1.0 | 3.00 % |  |  |\n"), "{text}");
        assert!(text.ends_with("\n| store | yes | 15.0 | 1.0 | 0.50 % | 0.50 | 0.25 |"), "{text}");
    }

    #[test]
    fn a_system_that_was_not_interrupted_has_no_row() {
        let gap = |ms: &u64| Gap { long: Duration::from_millis(*ms), over_after: Duration::from_millis(*ms + 5) };
        let seen = |ms: &[u64], writes| Interrupted { gaps: ms.iter().map(gap).collect(), writes };
        let text = gaps("kill -9", &[(Kind::Etcd, seen(&[30, 10, 20], 700)), (Kind::Store, seen(&[], 9))]);
        assert_eq!(text, "| kill -9 | etcd | 3 | 20 | 30 | 30 | 30 | 35 | 700 |");
    }
}
