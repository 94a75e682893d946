//! The last assignment on the agent's disk, so that an agent that is cut off runs what it has. Acts: reads and
//! writes one file, atomically, with a checksum.
//!
//! Layout: magic, SHA-256 of the rest, cluster id, then an `Assignment` as on the wire (full).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use bytes::{Buf as _, Bytes};
use prost::Message as _;
use proto::session::{Assignment, Item};
use sha2::{Digest as _, Sha256};

use super::Work;

const FILE: &str = "assignment";
const MAGIC: &[u8; 8] = b"KTKWORK1";
const DIGEST_BYTES: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    pub cluster_id: String,
    pub work: Work,
}

/// `None` when nothing (usable) is there: a damaged file is set aside, and the agent waits for a leader. Makes
/// the directory.
pub fn load(dir: &Path) -> io::Result<Option<Saved>> {
    fs::create_dir_all(dir)?;
    let path = dir.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match decode(bytes) {
        Some(saved) => Ok(Some(saved)),
        None => {
            let aside = dir.join(format!("{FILE}.damaged"));
            tracing::warn!(path = %path.display(), "the saved assignment is damaged; set aside, waiting for a leader");
            fs::rename(&path, aside)?;
            Ok(None)
        }
    }
}

/// Durable when it returns: either the old file or the new one is there after a crash.
pub fn save(dir: &Path, saved: &Saved) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let temporary = dir.join(format!("{FILE}.new"));
    // Secrets are in it.
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&encode(saved))?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

fn encode(saved: &Saved) -> Vec<u8> {
    let work = &saved.work;
    let items = work.items.iter().map(|(key, json)| Item { key: key.clone(), json: json.clone() }).collect();
    let assignment = Assignment {
        term: work.term,
        sequence: work.sequence,
        full: true,
        upserts: items,
        removed: Vec::new(),
        more: false,
    };
    let mut body = Vec::with_capacity(assignment.encoded_len() + saved.cluster_id.len() + 4);
    body.extend((saved.cluster_id.len() as u32).to_be_bytes());
    body.extend(saved.cluster_id.as_bytes());
    assignment.encode(&mut body).expect("a Vec grows");
    let mut file = Vec::with_capacity(MAGIC.len() + DIGEST_BYTES + body.len());
    file.extend(MAGIC);
    file.extend(Sha256::digest(&body));
    file.extend(body);
    file
}

fn decode(mut bytes: Bytes) -> Option<Saved> {
    if bytes.len() < MAGIC.len() + DIGEST_BYTES + 4 || !bytes.starts_with(MAGIC) {
        return None;
    }
    bytes.advance(MAGIC.len());
    let digest = bytes.split_to(DIGEST_BYTES);
    if Sha256::digest(&bytes)[..] != digest[..] {
        return None;
    }
    let length = bytes.get_u32() as usize;
    if length > bytes.len() {
        return None;
    }
    let cluster_id = String::from_utf8(bytes.split_to(length).to_vec()).ok()?;
    let Assignment { term, sequence, upserts, .. } = Assignment::decode(bytes).ok()?;
    let items = upserts.into_iter().map(|item| (item.key, item.json)).collect();
    Some(Saved { cluster_id, work: Work { term, sequence, items, is_remembered: true } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Saved {
        let items = [("pods/a/x".to_owned(), Bytes::from_static(b"{\"kind\":\"Pod\"}"))].into();
        Saved { cluster_id: "c1".into(), work: Work { term: 7, sequence: 3, items, is_remembered: true } }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        save(dir.path(), &some()).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(some()));
    }

    #[test]
    fn a_damaged_file_is_set_aside_whichever_byte_it_is() {
        let whole = encode(&some());
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x10;
            assert_eq!(decode(damaged.into()), None, "byte {position}");
        }
        for length in 0..whole.len() {
            assert_eq!(decode(Bytes::copy_from_slice(&whole[..length])), None, "cut to {length}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"nonsense").unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        assert!(dir.path().join("assignment.damaged").exists());
    }
}
