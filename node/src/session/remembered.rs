//! The replicas that the agent learned of, on its disk: whoever it was configured with may be gone when it starts the
//! next time. Acts: reads and writes one small file, atomically.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::members::Members;

const FILE: &str = "replicas.json";

/// `None` when nothing usable is there: the configured addresses are the beginning then.
pub fn load(dir: &Path) -> io::Result<Option<Members>> {
    let path = dir.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let members = serde_json::from_slice(&bytes);
    if let Err(error) = &members {
        tracing::warn!(path = %path.display(), %error, "the remembered replicas cannot be read; the configured ones are asked");
    }
    Ok(members.ok())
}

/// Durable when it returns: either the old file or the new one is there after a crash.
pub fn save(dir: &Path, members: &Members) -> io::Result<()> {
    let temporary = dir.join(format!("{FILE}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(members)?)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_nonsense_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        let addresses = [(4, "10.0.0.4:6443".to_owned())].into();
        let members = Members { cluster_id: "c".into(), epoch: 1, index: 9, addresses };
        save(dir.path(), &members).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(members));
        fs::write(dir.path().join(FILE), "{\"epoch\":").unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
    }
}
