//! Reads all records on the disk again and again, slowly, so that rot is found before the record is needed. Acts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto::mutants::{self, Mutant};
use tokio_util::sync::CancellationToken;

use crate::disk::patience::{TRIES, lost};
use crate::disk::{Disk, Table, apart};
use crate::metrics::Metrics;
use crate::record;
use crate::rhythm::Rhythm;

/// Once a second: a small share of any disk and processor, and a full history window in little over an hour.
const PIECE_BYTES: usize = 64 << 10;
/// Between two passes it rests for so many of the pauses between pieces: a small disk need not be read all the time.
const REST: u32 = 60;
/// Behind every key.
const END: [u8; 9] = [0xff; 9];

/// Where the next piece begins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    table: usize,
    from: Bytes,
}

impl Place {
    fn first() -> Place {
        Place { table: 0, from: Bytes::new() }
    }

    fn table(&self) -> Table {
        Table::ALL[self.table]
    }

    /// In words, for a person.
    fn name(&self) -> String {
        match self.from.strip_suffix(&[0]) {
            Some(last) => format!("after key {}", name(self.table(), last)),
            None => "from its beginning".into(),
        }
    }

    /// After the piece that ended with `last`; `None`: there was nothing left in the table.
    fn after(&self, last: Option<&Bytes>) -> Place {
        match last {
            Some(last) => {
                let mut from = BytesMut::from(&last[..]);
                from.extend_from_slice(&[0]);
                Place { table: self.table, from: from.freeze() }
            }
            None => Place { table: (self.table + 1) % Table::ALL.len(), from: Bytes::new() },
        }
    }
}

/// Checks a piece. Returns the bytes read and the next place.
fn piece(disk: &dyn Disk, place: &Place) -> io::Result<(usize, Place)> {
    let table = place.table();
    let rows = disk.scan(table, &place.from, &END, PIECE_BYTES).map_err(|error| {
        let message = format!("table {} {}: {error}", table.name(), place.name());
        io::Error::new(error.kind(), message)
    })?;
    for (key, row) in &rows {
        let sound = record::open(row, &|| format!("table {}, key {}", table.name(), name(table, key)));
        if !mutants::on(Mutant::DamageOverlooked) {
            sound?;
        }
    }
    Ok((rows.iter().map(|(_, row)| row.len()).sum(), place.after(rows.last().map(|(key, _)| key))))
}

/// A key as a person can read it: a number in the log and the history, text behind the generation otherwise.
fn name(table: Table, key: &[u8]) -> String {
    match (table, <[u8; 8]>::try_from(key)) {
        (Table::Log | Table::History, Ok(number)) => u64::from_be_bytes(number).to_string(),
        (Table::Objects, _) => key.get(4..).unwrap_or_default().escape_ascii().to_string(),
        _ => key.escape_ascii().to_string(),
    }
}

/// Ends with `stop`, or with the first damage.
pub async fn run(disk: Arc<dyn Disk>, metrics: Arc<Metrics>, every: Duration, rhythm: Rhythm, stop: CancellationToken) {
    let (mut place, mut pause, mut failures) = (Place::first(), every, 0);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = rhythm.next(pause) => {}
        }
        let read = {
            let place = place.clone();
            apart(&disk, move |disk| piece(disk, &place)).await
        };
        match read {
            Ok((bytes, next)) => {
                Metrics::add(&metrics.scrubbed_bytes, bytes as u64);
                pause = if next == Place::first() { every * REST } else { every };
                (place, failures) = (next, 0);
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                metrics.damage_found(&error);
                return;
            }
            Err(_) if stop.is_cancelled() => return,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::debug!(%error, "a piece of the disk is not checked yet");
            }
            Err(error) => {
                tracing::warn!(%error, "a piece of the disk cannot be read");
                (pause, failures) = (every, failures + 1);
                if failures == TRIES {
                    metrics.damage_found(&lost(&error));
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::disk::Batch;
    use crate::disk::faulty::Faulty;
    use crate::disk::rocks::Rocks;

    fn filled() -> (tempfile::TempDir, Rocks) {
        let dir = tempfile::tempdir().unwrap();
        let rocks = Rocks::open(dir.path()).unwrap();
        let mut batch = Batch::default();
        for n in 0..100u64 {
            batch.put(Table::Log, Bytes::copy_from_slice(&n.to_be_bytes()), record::encode(&vec![n as u8; 2000]));
            let key = [&1u32.to_be_bytes()[..], format!("pods/{n}").as_bytes()].concat();
            batch.put(Table::Objects, key, record::encode(&n));
        }
        batch.put(Table::Meta, Bytes::from_static(b"vote"), record::encode(&1));
        rocks.write(&batch).unwrap();
        (dir, rocks)
    }

    #[test]
    fn every_record_is_read_in_bounded_pieces() {
        let (_dir, rocks) = filled();
        let (mut place, mut bytes, mut pieces) = (Place::first(), 0, 0);
        loop {
            let (read, next) = piece(&rocks, &place).unwrap();
            assert!(read < PIECE_BYTES + 3000);
            (bytes, pieces, place) = (bytes + read, pieces + 1, next);
            if place == Place::first() {
                break;
            }
        }
        let all: usize = Table::ALL
            .map(|table| rocks.scan(table, b"", &END, usize::MAX).unwrap())
            .iter()
            .flatten()
            .map(|(_, row)| row.len())
            .sum();
        assert_eq!(bytes, all);
        assert!(pieces >= 8, "{pieces}");
    }

    #[test]
    fn damage_is_named_by_table_and_key() {
        for (table, key, named) in [
            (Table::Log, 77u64.to_be_bytes().to_vec(), "table log, key 77 is corrupt"),
            (Table::Objects, [&[0, 0, 0, 1], &b"pods/7"[..]].concat(), "table objects, key pods/7 is corrupt"),
            (Table::Meta, b"vote".to_vec(), "table meta, key vote is corrupt"),
        ] {
            let (_dir, rocks) = filled();
            let mut row = rocks.get(table, &key).unwrap().unwrap();
            row[5] ^= 1;
            let mut batch = Batch::default();
            batch.put(table, key, row);
            rocks.write(&batch).unwrap();
            let mut place = Place::first();
            let error = loop {
                match piece(&rocks, &place) {
                    Ok((_, next)) => place = next,
                    Err(error) => break error.to_string(),
                }
                assert_ne!(place, Place::first(), "{named}: not found");
            };
            assert!(error.starts_with(named), "{error}");
        }
    }

    async fn scrubbed(fails: impl FnOnce(&Faulty)) -> Arc<Metrics> {
        let (_dir, rocks) = filled();
        let (disk, metrics, stop) =
            (Faulty::new(Arc::new(rocks)), Arc::new(Metrics::default()), CancellationToken::new());
        fails(&disk);
        let every = Duration::from_millis(1);
        let running = run(disk, metrics.clone(), every, Rhythm::begin(), stop.clone());
        let enough = async {
            while metrics.scrubbed_bytes.load(Relaxed) < 200_000 && metrics.rot().is_none() {
                tokio::time::sleep(every).await;
            }
        };
        let done = async {
            tokio::select! { () = running => {}, () = enough => {} }
        };
        tokio::time::timeout(Duration::from_secs(20), done).await.expect("it goes on, or says why not");
        metrics
    }

    #[tokio::test]
    async fn a_piece_that_cannot_be_read_is_damage_at_the_third_try() {
        let metrics = scrubbed(|disk| disk.fail_scans.store(u64::MAX, Relaxed)).await;
        let said = "table log from its beginning: the sector is gone, says the test (3 times in a row)";
        assert_eq!(metrics.rot().as_deref(), Some(said));
        assert_eq!(metrics.device_failure(), None, "the rest of the disk may be well, and is where it is filled");
        let metrics = scrubbed(|disk| disk.fail_scans.store(2, Relaxed)).await;
        assert_eq!(metrics.rot(), None, "it could be read after all");
    }

    #[tokio::test]
    async fn a_full_disk_is_no_damage() {
        let metrics = scrubbed(|disk| disk.full_scans.store(9, Relaxed)).await;
        assert_eq!(metrics.rot(), None);
    }
}
