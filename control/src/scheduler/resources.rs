//! Amounts of CPU, memory and the rest: what a pod requests, what a node has. Pure, decides.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Never negative. Sums saturate, so no quantity that somebody writes can make them wrap around.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub ephemeral_bytes: i64,
    pub pods: i64,
    /// Everything else, such as `example.com/gpu` or `hugepages-2Mi`.
    pub extended: BTreeMap<String, i64>,
}

impl Resources {
    /// Fractions are rounded up: a request is never taken for less than it is. What does not parse counts as
    /// nothing (validation refuses it at the door).
    pub fn from_quantities(quantities: &BTreeMap<String, Quantity>) -> Resources {
        let mut resources = Resources::default();
        for (name, quantity) in quantities {
            match name.as_str() {
                "cpu" => resources.cpu_milli = milli(quantity),
                "memory" => resources.memory_bytes = whole(quantity),
                "ephemeral-storage" => resources.ephemeral_bytes = whole(quantity),
                "pods" => resources.pods = whole(quantity),
                _ => {
                    resources.extended.insert(name.clone(), whole(quantity));
                }
            }
        }
        resources
    }

    pub fn add(&mut self, other: &Resources) {
        self.combine(other, i64::saturating_add);
    }

    fn raise_to(&mut self, other: &Resources) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Resources, with: fn(i64, i64) -> i64) {
        self.cpu_milli = with(self.cpu_milli, other.cpu_milli);
        self.memory_bytes = with(self.memory_bytes, other.memory_bytes);
        self.ephemeral_bytes = with(self.ephemeral_bytes, other.ephemeral_bytes);
        self.pods = with(self.pods, other.pods);
        for (name, amount) in &other.extended {
            let mine = self.extended.entry(name.clone()).or_default();
            *mine = with(*mine, *amount);
        }
    }

    /// The resources of which `wanted` exceeds what is left of `self` after `used`. What is not wanted
    /// cannot lack, even on a node that is over-committed.
    pub fn lacking(&self, used: &Resources, wanted: &Resources) -> Vec<String> {
        let named = [
            ("cpu", self.cpu_milli, used.cpu_milli, wanted.cpu_milli),
            ("memory", self.memory_bytes, used.memory_bytes, wanted.memory_bytes),
            ("ephemeral-storage", self.ephemeral_bytes, used.ephemeral_bytes, wanted.ephemeral_bytes),
            ("pods", self.pods, used.pods, wanted.pods),
        ];
        let extended = wanted.extended.iter().map(|(name, wanted)| {
            let amount = |of: &Resources| of.extended.get(name).copied().unwrap_or(0);
            (name.as_str(), amount(self), amount(used), *wanted)
        });
        named
            .into_iter()
            .chain(extended)
            .filter(|(_, has, used, wanted)| *wanted > 0 && *wanted > has.saturating_sub(*used))
            .map(|(name, ..)| name.to_string())
            .collect()
    }
}

/// What a pod asks of its node: the sum of the containers that run together, or the largest moment of the
/// init containers if that is more, plus the overhead. Init containers that go on running (restartPolicy
/// Always) count for the rest of the pod's life. Requests of the pod as a whole go before its containers'.
pub fn pod_requests(spec: &PodSpec) -> Resources {
    let mut running = Resources::default();
    let mut peak = Resources::default();
    for init in spec.init_containers.iter().flatten() {
        let requests = container_requests(init);
        if init.restart_policy.as_deref() == Some("Always") {
            running.add(&requests);
            peak.raise_to(&running);
        } else {
            let mut moment = running.clone();
            moment.add(&requests);
            peak.raise_to(&moment);
        }
    }
    for container in &spec.containers {
        running.add(&container_requests(container));
    }
    running.raise_to(&peak);
    if let Some(whole) = requests(spec.resources.as_ref()) {
        if whole.cpu_milli > 0 {
            running.cpu_milli = whole.cpu_milli;
        }
        if whole.memory_bytes > 0 {
            running.memory_bytes = whole.memory_bytes;
        }
    }
    if let Some(overhead) = &spec.overhead {
        running.add(&Resources::from_quantities(overhead));
    }
    running.pods = 1;
    running
}

fn container_requests(container: &Container) -> Resources {
    requests(container.resources.as_ref()).unwrap_or_default()
}

fn requests(resources: Option<&ResourceRequirements>) -> Option<Resources> {
    resources?.requests.as_ref().map(Resources::from_quantities)
}

fn milli(quantity: &Quantity) -> i64 {
    parsed(quantity).milli().max(0)
}

fn whole(quantity: &Quantity) -> i64 {
    parsed(quantity).whole().max(0)
}

fn parsed(quantity: &Quantity) -> api::quantity::Quantity {
    quantity.0.parse().unwrap_or(api::quantity::Quantity::ZERO)
}
