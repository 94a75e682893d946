//! What can be done to the files of a replica: a torn log, a flipped bit, a disk without room. Acts, on the files alone.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::plan::{self, Tear};

/// What was set aside before is of no interest.
const ASIDE: &str = "damaged";
/// What a disk writes at once.
const SECTOR: u64 = 512;

/// The newest write-ahead log loses its last bytes, but not its first half. Says what was done.
pub fn tear(data: &Path, tear: Tear) -> io::Result<String> {
    let Some(path) = newest(data, plan::File::Log)? else { return Ok("there is no log".into()) };
    let file = OpenOptions::new().write(true).open(&path)?;
    let length = file.metadata()?.len();
    let (Tear::Cut(bytes) | Tear::Empty(bytes)) = tear;
    let left = length - bytes.min(length / 2);
    let done = match tear {
        Tear::Cut(_) => {
            file.set_len(left)?;
            format!("cut to {left}")
        }
        Tear::Empty(_) => {
            let left = left.next_multiple_of(SECTOR).min(length);
            file.set_len(left)?;
            file.set_len(length)?;
            format!("empty from {left} on")
        }
    };
    file.sync_all()?;
    Ok(format!("{} of {length} bytes {done}", path.display()))
}

/// One bit of the newest file of its sort is another. Says which.
pub fn flip(data: &Path, file: plan::File, thousandths: u64) -> io::Result<String> {
    let Some(path) = newest(data, file)? else { return Ok(format!("there is no such file ({file:?})")) };
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(format!("{} is empty", path.display()));
    }
    let at = length * thousandths / 1000;
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&[byte[0] ^ 1 << (thousandths % 8)])?;
    file.sync_all()?;
    Ok(format!("a bit of byte {at} of {} ({length} bytes) flipped", path.display()))
}

/// Takes all room that there is.
pub fn fill(filler: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(filler)?;
    for size in [1 << 20, 4 << 10, 64] {
        loop {
            match file.write_all(&vec![0xaa; size]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

pub fn free(filler: &Path) -> io::Result<()> {
    match std::fs::remove_file(filler) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// RocksDB numbers its files: the highest is the newest. An empty one has nothing to lose.
fn newest(data: &Path, file: plan::File) -> io::Result<Option<PathBuf>> {
    let mut found = None;
    let mut open = vec![data.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match path.metadata() {
                Ok(about) if about.is_dir() && name != ASIDE => open.push(path),
                Ok(about) if about.is_file() && about.len() > 0 => {
                    found = found.max(number(name, file).map(|number| (number, path)));
                }
                Ok(_) => {}
                // A running replica drops files.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found.map(|(_, path)| path))
}

/// Which one of its sort is the file of this name? `None`: it is of another sort.
fn number(name: &str, file: plan::File) -> Option<u64> {
    let numbered = |number: Option<&str>| number?.parse().ok();
    let only = |called: &str| (name == called).then_some(0);
    match file {
        plan::File::Log => numbered(name.strip_suffix(".log")),
        plan::File::Table => numbered(name.strip_suffix(".sst")),
        plan::File::Manifest => numbered(name.strip_prefix("MANIFEST-")),
        plan::File::Current => only("CURRENT"),
        plan::File::Vote => only("vote"),
        plan::File::Mark => only("mark"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_file_is_hurt_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let tables = dir.path().join("tables");
        std::fs::create_dir(&tables).unwrap();
        for (name, length) in [("000007.log", 100), ("000012.log", 100), ("000099.log", 0), ("000013.sst", 100)] {
            std::fs::write(tables.join(name), vec![0; length]).unwrap();
        }
        std::fs::write(tables.join("000011.log"), [1; 1500]).unwrap();
        std::fs::create_dir(dir.path().join("damaged")).unwrap();
        std::fs::write(dir.path().join("damaged/000500.sst"), [0; 100]).unwrap();
        tear(dir.path(), Tear::Cut(30)).unwrap();
        flip(dir.path(), plan::File::Table, 500).unwrap();
        let read = |name: &str| std::fs::read(tables.join(name)).unwrap();
        assert_eq!((read("000007.log").len(), read("000012.log").len()), (100, 70));
        let bits: u32 = read("000013.sst").iter().map(|byte| byte.count_ones()).sum();
        assert_eq!((bits, read("000013.sst")[50]), (1, 1 << 4));
        tear(dir.path(), Tear::Cut(4000)).unwrap();
        assert_eq!(read("000012.log").len(), 35, "never more than half of it");
        std::fs::remove_file(tables.join("000012.log")).unwrap();
        tear(dir.path(), Tear::Empty(700)).unwrap();
        assert_eq!(read("000011.log"), [[1; 1024].as_slice(), &[0; 476]].concat());
        for (name, file) in [("MANIFEST-000014", plan::File::Manifest), ("CURRENT", plan::File::Current)] {
            std::fs::write(tables.join(name), [0; 9]).unwrap();
            flip(dir.path(), file, 0).unwrap();
            assert_eq!(read(name), [1, 0, 0, 0, 0, 0, 0, 0, 0], "{name}");
        }
        assert_eq!(flip(dir.path(), plan::File::Vote, 0).unwrap(), "there is no such file (Vote)");
        assert_eq!(std::fs::read(dir.path().join("damaged/000500.sst")).unwrap(), [0; 100]);
    }
}
