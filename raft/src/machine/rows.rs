//! The history's rows on the disk, read back as changes. Acts (reads only).

use std::io;

use bytes::Bytes;

use super::row::{Found, Held};
use super::trim::Reliance;
use crate::command::{Action, Change, Revision};
use crate::disk::{Disk, Table};
use crate::log;

/// How much a watcher that fell behind reads from the disk at once, in rows and in values.
pub const READ_BYTES: usize = 256 << 10;
/// Of that, in rows, which are much smaller than the values that they name.
const SCAN_BYTES: usize = 32 << 10;

#[derive(Debug)]
pub enum Missing {
    /// It went with the window's beginning while somebody read towards it.
    Row(Revision),
    Unread(io::Error),
}

impl From<io::Error> for Missing {
    fn from(error: io::Error) -> Missing {
        Missing::Unread(error)
    }
}

pub fn key(revision: Revision) -> Bytes {
    Bytes::copy_from_slice(&revision.to_be_bytes())
}

/// The rows after `after` up to `upto`, about so many bytes of them; at least one where there is any.
pub fn scan(disk: &dyn Disk, after: Revision, upto: Revision, bytes: usize) -> io::Result<Vec<Found>> {
    let upper = upto.checked_add(1).map_or(vec![0xff; 9], |end| end.to_be_bytes().to_vec());
    let rows = disk.scan(Table::History, &(after + 1).to_be_bytes(), &upper, bytes)?;
    let decode = |(at, row): &(Bytes, Vec<u8>)| Found::decode(row, &|| name(at));
    rows.iter().map(decode).collect()
}

fn name(key: &[u8]) -> String {
    format!("history row {}", key.try_into().map_or(0, u64::from_be_bytes))
}

/// Reads all rows after `after` once, so that damage is found while it can still be repaired. Returns how far back they rely
/// on others.
pub fn check(disk: &dyn Disk, after: Revision) -> io::Result<u64> {
    let (mut at, mut reliance) = (after, Reliance::default());
    loop {
        let rows = scan(disk, at, u64::MAX, READ_BYTES)?;
        let Some(last) = rows.last() else { return Ok(reliance.bytes) };
        at = last.revision;
        rows.iter().for_each(|row| reliance.see(row));
    }
}

/// The changes after `after`, up to `upto` or for about [`READ_BYTES`]; at least one, if there is any. `may_end`: is shown the row
/// of each, and says whether it may be the last.
pub fn read(
    disk: &dyn Disk,
    after: Revision,
    upto: Revision,
    mut may_end: impl FnMut(&Found) -> bool,
) -> Result<Vec<Change>, Missing> {
    let mut reader = Reader { disk, changes: Vec::new(), bytes: 0, entry: None };
    let mut next = after + 1;
    while next <= upto {
        let rows = scan(disk, next - 1, upto, SCAN_BYTES)?;
        if rows.is_empty() {
            return Err(Missing::Row(next));
        }
        for row in rows {
            if row.revision != next {
                return Err(Missing::Row(next));
            }
            next += 1;
            let may_end = may_end(&row);
            reader.take(row)?;
            if may_end && reader.bytes >= READ_BYTES {
                return Ok(reader.changes);
            }
        }
    }
    Ok(reader.changes)
}

struct Reader<'a> {
    disk: &'a dyn Disk,
    changes: Vec<Change>,
    bytes: usize,
    /// The values of the log entry that was looked at last.
    entry: Option<(u64, Vec<Bytes>)>,
}

impl Reader<'_> {
    fn take(&mut self, row: Found) -> Result<(), Missing> {
        let revision = row.revision;
        let put = self.put(&row)?;
        let before = row.near().map(|near| self.before(near, revision)).transpose()?;
        let change = row.change(put, before);
        self.bytes += 64 + change.key.len() + change.value.as_ref().map_or(0, Bytes::len) + change.previous.len();
        self.changes.push(change);
        Ok(())
    }

    /// The value that a row names.
    fn put(&mut self, row: &Found) -> Result<Option<Bytes>, Missing> {
        let nth = match &row.value {
            Held::Nowhere => return Ok(None),
            Held::Here(value) => return Ok(Some(value.clone())),
            Held::InLog(nth) => *nth as usize,
        };
        let at = row.place.entry();
        let index = at.index;
        if self.entry.as_ref().is_none_or(|(read, _)| *read != index) {
            let command = log::rows::command(self.disk, at)?.ok_or(Missing::Row(row.revision))?;
            let values = command.ops.into_iter().filter_map(|op| match op.action {
                Action::Put(value) => Some(value),
                Action::Delete | Action::Check => None,
            });
            self.entry = Some((index, values.collect()));
        }
        let value = self.entry.as_ref().and_then(|(_, values)| values.get(nth).cloned());
        let wrong = || {
            let message = format!("log entry {index} is corrupt: it lacks the value of revision {}", row.revision);
            Missing::Unread(io::Error::new(io::ErrorKind::InvalidData, message))
        };
        value.map(Some).ok_or_else(wrong)
    }

    /// What was written at the revision `near`, on which the row at `revision` relies.
    fn before(&mut self, near: Revision, revision: Revision) -> Result<Bytes, Missing> {
        let here = self.changes.first().and_then(|first| near.checked_sub(first.revision));
        let value = match here.and_then(|at| self.changes.get(at as usize)) {
            Some(change) => change.value.clone(),
            None => {
                let row = self.disk.get(Table::History, &key(near))?.ok_or(Missing::Row(revision))?;
                self.put(&Found::decode(&row, &|| format!("history row {near}"))?)?
            }
        };
        value.ok_or(Missing::Row(revision))
    }
}
