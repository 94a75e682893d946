//! How every record on disk is framed: CRC-32 of the body, a format byte, the body. Pure.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Another number for every change of what stands in a record. A reader that meets another one stops instead of
/// guessing, and does not take it for damage: all replicas would find the same at once.
const FORMAT: u8 = 4;
pub const HEADER: usize = 5;

/// Frames a body that `fill` appends to the buffer.
pub fn seal(capacity: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER + capacity);
    record.extend_from_slice(&[0, 0, 0, 0, FORMAT]);
    fill(&mut record);
    let crc = crc32fast::hash(&record[4..]);
    record[..4].copy_from_slice(&crc.to_le_bytes());
    record
}

/// The body of a record. `what` names it in the error.
pub fn open<'a>(record: &'a [u8], what: &dyn Fn() -> String) -> io::Result<&'a [u8]> {
    let corrupt = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{} is corrupt: {why}", what()));
    let Some((head, rest)) = record.split_at_checked(4) else { return Err(corrupt("it is too short")) };
    if crc32fast::hash(rest).to_le_bytes() != head {
        return Err(corrupt("its checksum does not match"));
    }
    match rest.split_first() {
        Some((&FORMAT, body)) => Ok(body),
        Some((other, _)) => Err(foreign(what, &format!("its format is {other}, this version knows {FORMAT}"))),
        None => Err(corrupt("it is empty")),
    }
}

pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    encode_sized(value, 64)
}

/// The same, of a value whose encoding has about `capacity` bytes.
pub fn encode_sized<T: Serialize>(value: &T, capacity: usize) -> Vec<u8> {
    seal(capacity, |buffer| {
        let taken = std::mem::take(buffer);
        *buffer = postcard::to_extend(value, taken).expect("our own types have an encoding");
    })
}

pub fn decode<T: DeserializeOwned>(record: &[u8], what: &dyn Fn() -> String) -> io::Result<T> {
    let body = open(record, what)?;
    postcard::from_bytes(body).map_err(|error| foreign(what, &error.to_string()))
}

/// Its checksum matches, so it is whole.
fn foreign(what: &dyn Fn() -> String, why: &str) -> io::Error {
    let text = format!("{} was written by another version of Kontiki: {why}", what());
    io::Error::new(io::ErrorKind::Unsupported, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        let value = (7u64, "seven".to_string(), vec![1u8, 2, 3]);
        assert_eq!(decode::<(u64, String, Vec<u8>)>(&encode(&value), &|| "it".into()).unwrap(), value);
    }

    #[test]
    fn every_flipped_bit_is_found_and_named() {
        let record = encode(&(7u64, "seven".to_string()));
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = decode::<(u64, String)>(&flipped, &|| "vote".into()).unwrap_err();
            assert!(error.to_string().starts_with("vote is corrupt"), "bit {bit}: {error}");
        }
    }

    #[test]
    fn a_whole_record_of_another_version_is_not_damaged() {
        let mut record = encode(&7u64);
        record[4] = FORMAT - 1;
        let crc = crc32fast::hash(&record[4..]).to_le_bytes();
        record[..4].copy_from_slice(&crc);
        let of_another_type = encode(&7u64);
        for error in [
            decode::<u64>(&record, &|| "vote".into()).unwrap_err(),
            decode::<(u64, String)>(&of_another_type, &|| "vote".into()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert!(error.to_string().starts_with("vote was written by another version"), "{error}");
        }
    }

    #[test]
    fn a_truncated_record_is_refused() {
        let record = encode(&"a longer text than the header");
        for length in 0..record.len() {
            assert!(decode::<String>(&record[..length], &|| "it".into()).is_err(), "length {length}");
        }
    }
}
