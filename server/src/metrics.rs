//! What a replica counts about itself, in Prometheus' text format. Acts only on its own counters.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use raft::{Role, Store};

/// Seconds. From a read out of memory to a write that waited for an election.
const LATENCY_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    requests: Family<Request, Counter>,
    latency: Family<Kind, Histogram>,
    in_flight: Gauge,
    watches: Gauge,
    panics: Counter,
    term: Gauge,
    leads: Gauge,
    has_leader: Gauge,
}

/// Both come from tables of ours, never from what a client sent: the number of series is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    pub verb: Word,
    pub resource: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    verb: Word,
    resource: Word,
    code: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Word(pub &'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut inner = Inner {
            registry: Registry::default(),
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS)),
            in_flight: Gauge::default(),
            watches: Gauge::default(),
            panics: Counter::default(),
            term: Gauge::default(),
            leads: Gauge::default(),
            has_leader: Gauge::default(),
        };
        inner.register();
        Metrics(Arc::new(inner))
    }

    /// A request that has ended, watches aside.
    pub fn request(&self, kind: Kind, code: u16, took: Duration) {
        let Kind { verb, resource } = kind;
        self.0.requests.get_or_create(&Request { verb, resource, code }).inc();
        if verb.0 != "WATCH" {
            self.0.latency.get_or_create(&kind).observe(took.as_secs_f64());
        }
    }

    pub fn panicked(&self) {
        self.0.panics.inc();
    }

    /// Counts one more until it is dropped.
    pub fn in_flight(&self) -> Held {
        Held::of(&self.0.in_flight)
    }

    /// Counts one more until it is dropped.
    pub fn watch(&self) -> Held {
        Held::of(&self.0.watches)
    }

    /// Everything, with the store's numbers as they are now.
    pub fn text(&self, store: &Store) -> String {
        let standing = store.standing().borrow().clone();
        self.0.term.set(standing.term as i64);
        self.0.leads.set(i64::from(standing.role == Role::Leader));
        self.0.has_leader.set(i64::from(standing.leader.is_some()));
        let mut text = store_text(store.metrics());
        encode(&mut text, &self.0.registry).expect("writing to a String does not fail");
        text
    }
}

impl Inner {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("apiserver_request", "Requests answered", self.requests.clone());
        let help = "Seconds from a request's head to the head of its response, watches aside";
        registry.register("apiserver_request_duration_seconds", help, self.latency.clone());
        registry.register("apiserver_current_inflight_requests", "Requests in flight", self.in_flight.clone());
        registry.register("apiserver_longrunning_requests", "Watches that are open", self.watches.clone());
        registry.register("kontiki_panics", "Requests whose handler panicked", self.panics.clone());
        registry.register("kontiki_raft_term", "The Raft term this replica is in", self.term.clone());
        registry.register("kontiki_raft_is_leader", "1 on the leader", self.leads.clone());
        registry.register("kontiki_raft_has_leader", "1 where a leader is known", self.has_leader.clone());
    }
}

enum Sort {
    Counter,
    Gauge,
}

/// The store's own numbers, in the same format.
fn store_text(store: &raft::Metrics) -> String {
    use Sort::{Counter, Gauge};
    let rows = [
        (Counter, "proposals", "Commands proposed on this replica", &store.proposals),
        (Counter, "proposals_forwarded", "Of these, forwarded to a leader elsewhere", &store.proposals_forwarded),
        (Counter, "proposals_unknown", "Of these, without a known outcome", &store.proposals_unknown),
        (Counter, "proposals_refused", "Of these, refused", &store.proposals_refused),
        (Counter, "proposals_no_space", "Of these, refused for lack of room on the disks", &store.proposals_no_space),
        (Counter, "entries_appended", "Log entries appended", &store.entries_appended),
        (Counter, "entries_applied", "Log entries applied", &store.entries_applied),
        (Gauge, "applied_index", "The newest log index applied here", &store.applied_index),
        (Gauge, "committed_index", "The newest log index known to be committed", &store.committed_index),
        (Gauge, "revision", "The newest revision applied here", &store.revision),
        (Gauge, "objects", "Keys in the state", &store.objects),
        (Counter, "leader_changes", "Changes of the leader seen", &store.leader_changes),
        (Counter, "barriers", "Linearizable reads", &store.barriers),
        (Counter, "barrier_rounds", "Rounds to a majority that these took", &store.barrier_rounds),
        (Counter, "snapshots_sent", "Snapshots sent to other replicas", &store.snapshots_sent),
        (Counter, "snapshots_installed", "Snapshots installed", &store.snapshots_installed),
        (Counter, "snapshot_sent_bytes", "Bytes of the snapshots sent", &store.snapshot_bytes_sent),
        (Counter, "snapshot_installed_bytes", "Bytes of the snapshots installed", &store.snapshot_bytes_installed),
        (
            Counter,
            "elections_after_reset",
            "Elections begun because the leader's process died",
            &store.elections_after_reset,
        ),
        (
            Counter,
            "elections_after_silence",
            "Times the others were asked because the leader was silent",
            &store.elections_after_silence,
        ),
        (Gauge, "watchers", "Open watches of the store", &store.watchers),
        (Counter, "watch_reads_from_disk", "Reads of history for slow watchers", &store.watch_reads_from_disk),
        (Gauge, "history_floor", "The oldest revision a watch can begin at", &store.history_floor),
        (Counter, "history_fetched", "Changes from before a snapshot that others told", &store.history_fetched),
        (Gauge, "history_bytes", "Bytes of history kept", &store.history_bytes),
        (Gauge, "log_bytes", "Bytes of the raft log kept for followers that lag", &store.log_bytes),
        (Gauge, "disk_bytes", "Bytes of the data directory", &store.disk_bytes),
        (Gauge, "disk_free_bytes", "Bytes free on its file system, the reserve aside", &store.disk_free_bytes),
        (Gauge, "disk_total_bytes", "Bytes of its file system", &store.disk_total_bytes),
        (Gauge, "disk_reserve_bytes", "Bytes set aside for when the disk is full", &store.disk_reserve_bytes),
        (Gauge, "disk_space_level", "0 enough room, 1 growth is refused, 2 a write waits for room", &store.space_level),
        (Counter, "disk_space_waits", "Writes that had to wait for room", &store.space_waits),
        (Counter, "disk_heals", "Times the disk was made to take writes again", &store.disk_heals),
        (Counter, "checksum_failures", "Records or files found damaged", &store.checksum_failures),
        (Counter, "renewals", "Times this replica began anew to be rid of damage", &store.renewals),
        (Counter, "scrubbed_bytes", "Bytes read in search of damage", &store.scrubbed_bytes),
        (Counter, "state_comparisons", "Comparisons of the replicas' states led here", &store.comparisons),
        (Counter, "state_divergences", "Replicas found to differ in them", &store.divergences),
        (Gauge, "fenced", "1 where this replica's state differs from a majority's", &store.fenced),
        (Gauge, "in_doubt", "1 while states differ and none is a majority's", &store.in_doubt),
    ];
    let mut text = String::new();
    for (sort, name, help, value) in rows {
        let (sort, suffix) = match sort {
            Counter => ("counter", "_total"),
            Gauge => ("gauge", ""),
        };
        let value = value.load(Ordering::Relaxed);
        let name = format!("kontiki_store_{name}");
        text += &format!("# HELP {name} {help}.\n# TYPE {name} {sort}\n{name}{suffix} {value}\n");
    }
    text += &computed(store);
    text += &sync_histogram(store);
    text
}

/// What is made of several numbers.
fn computed(store: &raft::Metrics) -> String {
    let of = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
    let lag = of(&store.committed_index).saturating_sub(of(&store.applied_index));
    let failed = u8::from(store.disk_failure().is_some());
    let damaged = u8::from(store.rot().is_some());
    let owed = store.sync_owed().as_secs_f64();
    let rows = [
        ("apply_lag_entries", "Entries known to be committed and not applied yet", lag.to_string()),
        ("sync_owed_seconds", "How long the sync under way has lasted; 0: none is", owed.to_string()),
        ("disk_failed", "1 once the disk failed a write or a sync: this replica votes no more", failed.to_string()),
        ("disk_damaged", "1 once damaged data was found, until it is repaired", damaged.to_string()),
    ];
    let line = |(name, help, value)| {
        let name = format!("kontiki_store_{name}");
        format!("# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}\n")
    };
    rows.into_iter().map(line).collect()
}

fn sync_histogram(store: &raft::Metrics) -> String {
    let name = "kontiki_store_sync_duration_seconds";
    let mut text = format!("# HELP {name} Syncs of the write-ahead log.\n# TYPE {name} histogram\n");
    let bounds = raft::metrics::SYNC_BUCKETS_US.iter().map(|us| (*us as f64 / 1e6).to_string());
    let mut count = 0;
    for (bound, bucket) in bounds.chain(["+Inf".to_owned()]).zip(&store.sync_buckets) {
        count += bucket.load(Ordering::Relaxed);
        text += &format!("{name}_bucket{{le=\"{bound}\"}} {count}\n");
    }
    let seconds = store.sync_us.load(Ordering::Relaxed) as f64 / 1e6;
    text + &format!("{name}_count {count}\n{name}_sum {seconds}\n")
}

/// Holds a gauge one higher.
pub struct Held(Gauge);

impl Held {
    fn of(gauge: &Gauge) -> Held {
        gauge.inc();
        Held(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sync_buckets_add_up() {
        let store = raft::Metrics::default();
        store.sync_buckets[0].store(2, Ordering::Relaxed);
        store.sync_buckets[8].store(1, Ordering::Relaxed);
        store.sync_us.store(1_500_000, Ordering::Relaxed);
        let text = store_text(&store);
        for line in
            ["_bucket{le=\"0.00025\"} 2", "_bucket{le=\"0.25\"} 2", "_bucket{le=\"+Inf\"} 3", "_count 3", "_sum 1.5"]
        {
            assert!(text.contains(&format!("kontiki_store_sync_duration_seconds{line}\n")), "{line} in {text}");
        }
    }

    #[test]
    fn the_apply_lag_is_what_is_committed_and_not_applied() {
        let store = raft::Metrics::default();
        let told = |lag: u64| store_text(&store).contains(&format!("\nkontiki_store_apply_lag_entries {lag}\n"));
        store.committed_index.store(9, Ordering::Relaxed);
        store.applied_index.store(4, Ordering::Relaxed);
        assert!(told(5));
        // A replica that has just started applies what it has before it hears what is committed.
        store.applied_index.store(12, Ordering::Relaxed);
        assert!(told(0));
    }

    /// An operator looks names up there.
    #[test]
    fn every_metric_is_documented_and_there_is_every_documented_one() {
        let documented = include_str!("../../docs/metrics.md");
        let metrics = Metrics::new();
        // Who has labels is told once there is one of them.
        metrics.request(Kind { verb: Word("GET"), resource: Word("pods") }, 200, Duration::from_millis(1));
        let mut text = store_text(&raft::Metrics::default());
        encode(&mut text, &metrics.0.registry).unwrap();
        let names: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
        let missing: Vec<&&str> = names.iter().filter(|name| !documented.contains(&format!("`{name}`"))).collect();
        assert!(missing.is_empty(), "not documented: {missing:?}");
        let of_ours = |name: &&str| name.starts_with("kontiki_") || name.starts_with("apiserver_");
        let gone: Vec<&str> = documented.split('`').filter(of_ours).filter(|name| !names.contains(name)).collect();
        assert!(gone.is_empty(), "documented and not there: {gone:?}");
    }
}
