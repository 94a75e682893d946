//! What a process holds: memory, sockets, other files, threads. Reads /proc.

use std::io;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Resident and its own: the program's code comes and goes as the kernel and `unused.rs` like it.
    pub memory_kib: u64,
    pub sockets: u64,
    /// Open files that are no sockets.
    pub files: u64,
    pub threads: u64,
}

/// One thing of which more is held than may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    pub what: &'static str,
    pub before: u64,
    pub now: u64,
    /// So many more would have been well.
    pub most: u64,
}

impl Held {
    pub fn by(pid: u32) -> io::Result<Held> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
        };
        let (mut sockets, mut files) = (0, 0);
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
            // It may be closed at this very moment.
            let Ok(target) = std::fs::read_link(entry?.path()) else { continue };
            *(if target.to_string_lossy().starts_with("socket:") { &mut sockets } else { &mut files }) += 1;
        }
        Ok(Held { memory_kib: number("RssAnon:"), sockets, files, threads: number("Threads:") })
    }

    pub fn parts(&self) -> [(&'static str, u64); 4] {
        [
            ("KiB of memory", self.memory_kib),
            ("sockets", self.sockets),
            ("other files", self.files),
            ("threads", self.threads),
        ]
    }

    /// The least of each.
    pub fn least(self, other: Held) -> Held {
        Held {
            memory_kib: self.memory_kib.min(other.memory_kib),
            sockets: self.sockets.min(other.sockets),
            files: self.files.min(other.files),
            threads: self.threads.min(other.threads),
        }
    }

    /// Of what this holds more than `most` above what was held before.
    pub fn beyond(&self, before: &Held, most: &Held) -> Vec<Excess> {
        let parts = self.parts().into_iter().zip(before.parts()).zip(most.parts());
        let excess = parts.map(|(((what, now), (_, before)), (_, most))| Excess { what, before, now, most });
        excess.filter(|excess| excess.now > excess.before + excess.most).collect()
    }

    /// From then to now, part by part.
    pub fn since(&self, before: &Held) -> String {
        let parts = before.parts().into_iter().zip(self.parts());
        let parts: Vec<String> = parts.map(|((what, before), (_, now))| format!("{before} -> {now} {what}")).collect();
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_holds_is_read() {
        let before = Held::by(std::process::id()).unwrap();
        let files: Vec<_> = (0..300).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let sockets: Vec<_> = (0..200).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let memory = vec![1u8; 64 << 20];
        let held = Held::by(std::process::id()).unwrap();
        assert!(held.files >= before.files + 250 && held.sockets >= before.sockets + 150, "{before:?} {held:?}");
        assert!(held.memory_kib >= before.memory_kib + (50 << 10) && held.threads > 0, "{before:?} {held:?}");
        drop((files, sockets, std::hint::black_box(memory)));
    }
}
