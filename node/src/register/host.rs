//! What the agent's host is like: identifiers, and what it is short of. Acts (reads only, blocking).

use std::fs;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::config::CapacityRule;
use crate::pod::Capacity;
use crate::runtime::Info;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub machine_id: String,
    pub boot_id: String,
    pub system_uuid: String,
    pub memory_available_bytes: u64,
    pub disk_available_bytes: u64,
    pub disk_bytes: u64,
    pub inodes_available_percent: u8,
    pub pids_available_percent: u8,
}

pub fn facts(data_dir: &Path) -> Facts {
    let (disk_bytes, disk_available_bytes, inodes_available_percent) = disk(data_dir);
    Facts {
        machine_id: line("/etc/machine-id"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        system_uuid: line("/sys/class/dmi/id/product_uuid"),
        memory_available_bytes: memory_available(),
        disk_available_bytes,
        disk_bytes,
        inodes_available_percent,
        pids_available_percent: pids_available_percent(),
    }
}

/// What the node offers, of what the engine's host has.
pub fn capacity(info: &Info, rule: &CapacityRule, facts: &Facts) -> Capacity {
    let share = u64::from(rule.share.max(1));
    Capacity {
        cpu_milli: rule.cpu_milli.unwrap_or(info.cpus * 1000 / share),
        memory_bytes: rule.memory_bytes.unwrap_or(info.memory_bytes / share),
        storage_bytes: facts.disk_bytes / share,
        pods: rule.pods,
    }
}

fn line(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Size, what is free of it, and the share of inodes that is free.
fn disk(dir: &Path) -> (u64, u64, u8) {
    let standing = dir.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let Ok(found) = statvfs(standing) else { return (0, u64::MAX, 100) };
    let unit = found.fragment_size();
    let inodes = match found.files() {
        0 => 100,
        all => (found.files_available() * 100 / all).min(100) as u8,
    };
    (found.blocks() * unit, found.blocks_available() * unit, inodes)
}

fn memory_available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.map_or(u64::MAX, |kib: u64| kib << 10)
}

fn pids_available_percent() -> u8 {
    let number = |path: &str| line(path).parse::<u64>().ok();
    let running = line("/proc/loadavg").split(['/', ' ']).nth(4).and_then(|count| count.parse::<u64>().ok());
    match (number("/proc/sys/kernel/pid_max"), running) {
        (Some(max), Some(running)) if max > 0 => (100 - (running * 100 / max).min(100)) as u8,
        _ => 100,
    }
}
