//! The containers in which the kernel killed for memory, as the engine's events and the kernel's own log tell. Acts (reads
//! only).
//!
//! The engine's record of an end says so only when it heard of it before the end: not so 5 of 60 times with containers that
//! fill 8 MiB at once. Its `oom` event comes then a moment after the end, or never: containerd's shim drops it when the control
//! group has been removed by the time it looks (containerd 1.6, `pkg/oom/v1`, `process`). The kernel's log has it before the
//! process ends. That is not always ours to read, and the kernel leaves reports out when there are more than ten in five
//! seconds: what it does not say proves nothing.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Mutex;

use crate::runtime::ContainerId;

/// Containers remembered: they are asked for when they end, a moment before or after.
const KEPT_MAX: usize = 256;
const KERNEL_LOG: &str = "/dev/kmsg";
/// A read gives one whole record or fails; the kernel makes none longer (`CONSOLE_EXT_LOG_MAX`).
const RECORD_BYTES_MAX: usize = 8192;
/// Records read at one look, more than logs of the usual size hold. What is beyond is read at the next.
const RECORDS_MAX: usize = 1 << 16;

#[derive(Default)]
pub struct Ooms {
    ids: Mutex<VecDeque<ContainerId>>,
    /// Read to where it ended at the last look. `None`: not opened yet, or not ours to read.
    kernel_log: Mutex<Option<File>>,
}

impl Ooms {
    pub fn add(&self, id: ContainerId) {
        let mut ids = self.ids.lock().expect("nobody panics with it");
        if ids.contains(&id) {
            return;
        }
        if ids.len() == KEPT_MAX {
            ids.pop_front();
        }
        ids.push_back(id);
    }

    /// Reads what is new in the kernel's log when no event has told of this container. That takes milliseconds at the
    /// first time.
    pub fn contains(&self, id: &ContainerId) -> bool {
        self.knows(id) || {
            self.read_kernel_log();
            self.knows(id)
        }
    }

    fn knows(&self, id: &ContainerId) -> bool {
        self.ids.lock().expect("nobody panics with it").contains(id)
    }

    fn read_kernel_log(&self) {
        let mut log = self.kernel_log.lock().expect("nobody panics with it");
        if log.is_none() {
            *log = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(KERNEL_LOG).ok();
        }
        if let Some(log) = log.as_mut() {
            killed_in(log).into_iter().for_each(|id| self.add(id));
        }
    }
}

/// The containers that the unread records tell of.
fn killed_in(log: &mut impl Read) -> Vec<ContainerId> {
    let mut record = [0; RECORD_BYTES_MAX];
    let mut found = Vec::new();
    for _ in 0..RECORDS_MAX {
        match log.read(&mut record) {
            Ok(length) if length > 0 => found.extend(victim(&String::from_utf8_lossy(&record[..length]))),
            // The next records were overwritten before they were read: it goes on with the oldest that is left.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            _ => break,
        }
    }
    found
}

/// The container whose process was chosen, of a record such as
/// `6,22805,78759068772,-;oom-kill:constraint=CONSTRAINT_MEMCG,…,task_memcg=/docker/<id>,task=tail,pid=14520,uid=0`
/// (the kernel's `mm/oom_kill.c`, since 5.0).
fn victim(record: &str) -> Option<ContainerId> {
    let (head, text) = record.split_once(';')?;
    // Facility and level in one number. The kernel's own facility is 0, which no program may write.
    let is_kernels = head.split(',').next()?.parse::<u32>().ok()? < 8;
    let (_, group) = text.strip_prefix("oom-kill:").filter(|_| is_kernels)?.split_once(",task_memcg=")?;
    // A container may have groups of its own below.
    group.split(',').next()?.rsplit('/').find_map(container)
}

/// The container that a control group is made for, by the engine itself or with the help of systemd.
fn container(group: &str) -> Option<ContainerId> {
    let scope = group.strip_prefix("docker-").and_then(|name| name.strip_suffix(".scope"));
    let id = scope.unwrap_or(group);
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| ContainerId(id.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const A: &str = "e6b7a328e8cd1605f190a40ae52234a965d6f65cc126ad76fea71efb1c01b138";
    const B: &str = "0111a8124b60dafe42bf70c9243dfff5eb540c2fe6b15298a9a534375bbc3b7a";

    fn id(text: &str) -> ContainerId {
        ContainerId(text.to_owned())
    }

    fn record(priority: u32, limited: &str, victims: &str) -> String {
        format!(
            "{priority},22805,78759068772,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={A},\
             mems_allowed=0,{limited},task_memcg={victims},task=tail,pid=14520,uid=0\n"
        )
    }

    /// Gives one record at a time, as the kernel does, and then has no more for now.
    struct Log(VecDeque<io::Result<String>>);

    impl Read for Log {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let record = self.0.pop_front().unwrap_or(Err(ErrorKind::WouldBlock.into()))?;
            buffer[..record.len()].copy_from_slice(record.as_bytes());
            Ok(record.len())
        }
    }

    #[test]
    fn the_newest_are_remembered_and_each_takes_one_place() {
        let ooms = Ooms::default();
        (0..=KEPT_MAX).for_each(|number| ooms.add(id(&number.to_string())));
        let newest = id(&KEPT_MAX.to_string());
        ooms.add(newest.clone());
        assert!(!ooms.knows(&id("0")));
        assert!(ooms.knows(&id("1")) && ooms.knows(&newest));
    }

    #[test]
    fn the_kernel_names_the_container_in_which_it_killed() {
        let own = format!("oom_memcg=/docker/{A}");
        let rows = [
            (6, own.clone(), format!("/docker/{A}"), Some(A)),
            (6, own.clone(), format!("/docker/{A}/init.scope"), Some(A)),
            (6, own.clone(), format!("/system.slice/docker-{A}.scope"), Some(A)),
            // An engine in a container: the one that holds the victim counts, not the one whose limit was hit.
            (6, own.clone(), format!("/docker/{A}/docker/{B}"), Some(B)),
            // The host itself was short of memory.
            (6, "global_oom".into(), format!("/docker/{A}"), Some(A)),
            (6, own.clone(), "/system.slice/ssh.service".into(), None),
            (6, own.clone(), format!("/docker/{}", &A[1..]), None),
            // A program wrote it.
            (14, own, format!("/docker/{A}"), None),
        ];
        for (priority, limited, group, container) in rows {
            assert_eq!(victim(&record(priority, &limited, &group)), container.map(id), "{priority} {limited} {group}");
        }
        for other in [
            "6,1,2,-;Memory cgroup out of memory: Killed process 14520 (tail) total-vm:18152kB\n",
            "6,1,2,-;bridge: port 1(veth) entered blocking state\n SUBSYSTEM=net\n",
            "oom-kill:",
            "",
        ] {
            assert_eq!(victim(other), None, "{other}");
        }
    }

    #[test]
    fn all_records_there_are_get_read_though_some_were_overwritten() {
        let own = |container: &str| record(6, "global_oom", &format!("/docker/{container}"));
        let noise = || Ok("6,1,2,-;bridge: port 1(veth) entered blocking state\n".to_owned());
        let overwritten = Err(ErrorKind::BrokenPipe.into());
        let mut log = Log(VecDeque::from([Ok(own(A)), noise(), overwritten, noise(), Ok(own(B))]));
        assert_eq!(killed_in(&mut log), [id(A), id(B)]);
        assert!(killed_in(&mut log).is_empty(), "each once");
    }
}
