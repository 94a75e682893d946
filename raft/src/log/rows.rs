//! What the log and the vote look like on the disk: rows by index, and a few records beside them. Reads.

use std::io;

use bytes::Bytes;
use openraft::EntryPayload;

use crate::command::Command;
use crate::disk::{Disk, Note, Table};
use crate::log::ends::weight;
use crate::log::keepsake::Keepsake;
use crate::peer::wire;
use crate::record;
use crate::types::{Entry, LogId, StoredMembership, Vote, log_id, term_of};

pub const VOTE: Bytes = Bytes::from_static(b"vote");
pub const COMMITTED: Bytes = Bytes::from_static(b"committed");
pub const PURGED: Bytes = Bytes::from_static(b"purged");
/// Only with the known bug `UncommittedMembersKept`.
pub const MEMBERS: Bytes = Bytes::from_static(b"members");

pub fn committed(disk: &dyn Disk) -> io::Result<Option<LogId>> {
    let at: Option<Option<(u64, u64)>> = read_meta(disk, &COMMITTED)?;
    Ok(at.flatten().map(|(term, index)| log_id(term, index)))
}

/// The command of an entry that was committed; `None` once it is off the disk. While its place is cleared, one that was overruled
/// there may come to light once more.
pub fn command(disk: &dyn Disk, at: LogId) -> io::Result<Option<Command>> {
    let Some(row) = disk.get(Table::Log, &key(at.index))? else { return Ok(None) };
    let entry = entry(at.index, row)?;
    if entry.log_id != at {
        return Ok(None);
    }
    match entry.payload {
        EntryPayload::Normal(proposal) => Command::decode(&proposal.0).map(Some),
        EntryPayload::Blank | EntryPayload::Membership(_) => Ok(None),
    }
}

fn entry(index: u64, row: Vec<u8>) -> io::Result<Entry> {
    record::open(&row, &|| format!("log entry {index}"))?;
    // Cut off the header without copying: the command then is a slice of the row.
    let mut body = Bytes::from(row);
    wire::entry_from_disk(body.split_off(record::HEADER))
}

/// The members by the newest of these entries that makes some.
pub fn members(entries: &[Entry]) -> Option<StoredMembership> {
    entries.iter().rev().find_map(|entry| match &entry.payload {
        EntryPayload::Membership(members) => Some(StoredMembership::new(Some(entry.log_id), members.clone())),
        EntryPayload::Blank | EntryPayload::Normal(_) => None,
    })
}

pub fn key(index: u64) -> Bytes {
    Bytes::copy_from_slice(&index.to_be_bytes())
}

pub fn row(entry: &Entry) -> Vec<u8> {
    record::seal(weight(entry), |buffer| wire::entry_to_disk(entry, buffer))
}

pub fn read_entries(disk: &dyn Disk, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
    if start >= end {
        return Ok(Vec::new());
    }
    let rows = disk.scan(Table::Log, &start.to_be_bytes(), &end.to_be_bytes(), bytes_max)?;
    let mut entries = Vec::with_capacity(rows.len());
    let mut previous: Option<u64> = None;
    for (key, row) in rows {
        let index = key[..].try_into().map(u64::from_be_bytes).unwrap_or(u64::MAX);
        let entry = entry(index, row)?;
        let expected = previous.map_or(index, |previous| previous + 1);
        if entry.log_id.index != expected {
            return Err(missing(expected, entry.log_id.index));
        }
        previous = Some(index);
        entries.push(entry);
    }
    Ok(entries)
}

/// An entry of an earlier term than the one before it was overruled, and is not to be there.
pub fn in_order(mut before: Option<LogId>, entries: &[Entry]) -> io::Result<()> {
    for entry in entries {
        let (at, term) = (entry.log_id, term_of(&entry.log_id));
        if let Some(before) = before.filter(|before| term_of(before) > term) {
            let message =
                format!("log entry {} is of term {term}, but the one before of {}", at.index, term_of(&before));
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        before = Some(at);
    }
    Ok(())
}

pub fn missing(expected: u64, found: u64) -> io::Error {
    let message = format!("log entry {expected} is missing: {found} comes in its place");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

pub fn read_meta<T: serde::de::DeserializeOwned>(disk: &dyn Disk, key: &Bytes) -> io::Result<Option<T>> {
    let what = || format!("meta record {}", String::from_utf8_lossy(key));
    disk.get(Table::Meta, key)?.map(|record| record::decode(&record, &what)).transpose()
}

/// Can a vote be read from this copy?
pub fn is_vote(note: &[u8]) -> bool {
    Keepsake::read(Some(note.to_vec())).is_ok()
}

/// The vote, from its two copies. A crash may have saved only one of them: a vote that was saved but never answered
/// does no harm, so the later one counts. One copy that is damaged is made good by the other.
pub fn kept_vote(disk: &dyn Disk) -> io::Result<Option<Vote>> {
    let stored = read_meta::<Vote>(disk, &VOTE);
    let note = Keepsake::read(disk.note(Note::Vote)?).map(|note| note.map(|kept| kept.vote));
    match (stored, note) {
        (Ok(Some(stored)), Ok(Some(note))) => Ok(Some(if stored >= note { stored } else { note })),
        (Ok(stored), Ok(note)) => Ok(stored.or(note)),
        (Ok(Some(stored)), Err(_)) => Ok(Some(stored)),
        (Err(_), Ok(Some(note))) => Ok(Some(note)),
        (Err(error), _) | (Ok(None), Err(error)) => Err(error),
    }
}
