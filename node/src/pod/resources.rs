//! Requests and limits: what a container may use, and how the kernel should rank it. Pure.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use super::spec_of;
use crate::runtime::Limits;

/// What a node has to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    pub cpu_milli: u64,
    pub memory_bytes: u64,
    pub storage_bytes: u64,
    pub pods: u32,
}

/// The kernel's least share, which stands for "asked for nothing".
const CPU_SHARES_MIN: u64 = 2;
const CPU_SHARES_PER_CPU: u64 = 1024;

type Amounts = Option<BTreeMap<String, Written>>;

pub fn amount(amounts: &Amounts, name: &str) -> Option<Quantity> {
    amounts.as_ref()?.get(name)?.0.parse().ok()
}

pub fn request(container: &Container, name: &str) -> Option<Quantity> {
    let resources = container.resources.as_ref()?;
    amount(&resources.requests, name).or_else(|| amount(&resources.limits, name))
}

pub fn limit(container: &Container, name: &str) -> Option<Quantity> {
    amount(&container.resources.as_ref()?.limits, name)
}

pub fn limits(pod: &Pod, container: &Container, capacity: &Capacity) -> Limits {
    let milli = |quantity: Option<Quantity>| quantity.map_or(0, |amount| amount.milli().max(0) as u64);
    let bytes = |quantity: Option<Quantity>| quantity.map_or(0, |amount| amount.whole().max(0) as u64);
    let cpu_request = milli(request(container, "cpu"));
    Limits {
        cpu_shares: (cpu_request * CPU_SHARES_PER_CPU / 1000).max(CPU_SHARES_MIN),
        cpu_milli_max: milli(limit(container, "cpu")),
        memory_bytes_max: bytes(limit(container, "memory")),
        oom_score_adj: oom_score_adj(pod, bytes(request(container, "memory")), capacity),
    }
}

/// As the kubelet ranks them, save that Guaranteed Pods get 0: a negative score needs a privilege.
fn oom_score_adj(pod: &Pod, memory_request: u64, capacity: &Capacity) -> u16 {
    match quality(pod) {
        Quality::BestEffort => 1000,
        Quality::Guaranteed => 0,
        Quality::Burstable => {
            let share = 1000 * memory_request / capacity.memory_bytes.max(1);
            1000u64.saturating_sub(share).clamp(2, 999) as u16
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    Guaranteed,
    Burstable,
    BestEffort,
}

/// The quality of service class of a Pod, from its requests and limits.
pub fn quality(pod: &Pod) -> Quality {
    let spec = spec_of(pod);
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let asks = |container: &Container| {
        ["cpu", "memory"].iter().any(|name| request(container, name).is_some_and(|amount| !amount.is_zero()))
    };
    if !containers().any(asks) {
        return Quality::BestEffort;
    }
    let fixed = |container: &Container| {
        ["cpu", "memory"].iter().all(|name| match (request(container, name), limit(container, name)) {
            (Some(request), Some(limit)) => request == limit && !limit.is_zero(),
            _ => false,
        })
    };
    if containers().all(fixed) { Quality::Guaranteed } else { Quality::Burstable }
}
