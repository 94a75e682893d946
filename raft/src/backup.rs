//! Snapshot files: the state at one log position, framed so that damage is found and placed. Pure but for the reader
//! that it is given, and for [`read_file`].
//!
//! `kontiki-snapshot`, then frames: length and CRC-32 of the body (each u32, little endian), the body. A body begins
//! with its kind: `H` the header, `O` objects, `E` the end, which counts what came and chains the checksums.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{Revision, Versioned};
use crate::machine::image::Image;
use crate::state::State;
use crate::types::term_of;

const MAGIC: &[u8; 16] = b"kontiki-snapshot";
const FORMAT: u8 = 1;
/// Of objects in one frame, beyond which no further one is added.
const FRAME_BYTES: usize = 512 << 10;
/// A frame that claims to be longer is damaged: one object is at most as large as a command.
const FRAME_BYTES_MAX: usize = FRAME_BYTES + crate::propose::COMMAND_BYTES_MAX + (1 << 10);

/// What a snapshot file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: u8,
    pub cluster_id: String,
    /// Which replica gave it.
    pub replica: u64,
    pub taken_at_ms: u64,
    pub revision: Revision,
    pub applied_term: u64,
    pub applied_index: u64,
    pub objects: u64,
    /// Keys and values.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct End {
    objects: u64,
    bytes: u64,
    /// Over the checksums of all frames before it.
    chain: u32,
}

/// A state that is ready to be written as a file.
pub struct Backup {
    pub header: Header,
    state: State,
}

impl Backup {
    pub(crate) fn new(cluster_id: String, replica: u64, taken_at_ms: u64, image: Image) -> Backup {
        let state = image.state;
        let bytes = state.objects().map(|(key, object)| size(key, object)).sum();
        let header = Header {
            format: FORMAT,
            cluster_id,
            replica,
            taken_at_ms,
            revision: state.revision(),
            applied_term: image.last_applied.as_ref().map_or(0, term_of),
            applied_index: image.last_applied.map_or(0, |at| at.index),
            objects: state.len() as u64,
            bytes,
        };
        Backup { header, state }
    }

    /// The file, piece by piece, made while it is taken.
    pub fn pieces(self) -> impl Iterator<Item = Bytes> + Send {
        let Backup { header, state } = self;
        let mut chain = crc32fast::Hasher::new();
        let mut first = MAGIC.to_vec();
        first.extend(frame(b'H', &mut chain, |out| postcard::to_extend(&header, out)));
        // A position instead of an iterator, so that the state can move along.
        let (mut after, mut ended) = (None::<Bytes>, false);
        let (mut objects, mut bytes) = (0, 0);
        let rest = std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let mut rows = Vec::with_capacity(FRAME_BYTES + (FRAME_BYTES >> 3));
            let mut last = None;
            for row in state.range(b"", after.as_deref()) {
                (objects, bytes, last) = (objects + 1, bytes + size(row.0, row.1), Some(row.0.clone()));
                rows = postcard::to_extend(&row, rows).expect("an object has an encoding");
                if rows.len() >= FRAME_BYTES {
                    break;
                }
            }
            match last {
                Some(key) => {
                    after = Some(key);
                    let append = |mut out: Vec<u8>| {
                        out.extend(&rows);
                        Ok(out)
                    };
                    Some(frame(b'O', &mut chain, append).into())
                }
                None => {
                    ended = true;
                    let end = End { objects, bytes, chain: chain.clone().finalize() };
                    Some(frame(b'E', &mut chain, |out| postcard::to_extend(&end, out)).into())
                }
            }
        });
        std::iter::once(Bytes::from(first)).chain(rest)
    }
}

fn size(key: &Bytes, object: &Versioned) -> u64 {
    (key.len() + object.value.len()) as u64
}

fn frame(
    kind: u8,
    chain: &mut crc32fast::Hasher,
    fill: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, postcard::Error>,
) -> Vec<u8> {
    let mut out = fill(vec![0, 0, 0, 0, 0, 0, 0, 0, kind]).expect("our own types have an encoding");
    let length = (out.len() - 8) as u32;
    let crc = crc32fast::hash(&out[8..]);
    chain.update(&crc.to_le_bytes());
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Why a file cannot be used, with its name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no {0}")]
    Missing(PathBuf),
    #[error("{file}: it cannot be opened: {source}")]
    Closed { file: PathBuf, source: io::Error },
    #[error("{file}: {source}")]
    Damaged { file: PathBuf, source: Damage },
}

/// What is wrong with what a file holds, and where in it.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    #[error("it is no Kontiki snapshot: it does not begin with {:?}", String::from_utf8_lossy(MAGIC))]
    NoSnapshot,
    #[error("it has format {0}, this version knows {FORMAT}")]
    Format(u8),
    #[error("it ends early, at byte {at}: {what} is cut off")]
    Short { at: u64, what: String },
    #[error("it is damaged at byte {at}, in {what}: {why}")]
    Corrupt { at: u64, what: String, why: String },
    #[error("it cannot be read at byte {at}: {source}")]
    Read {
        at: u64,
        #[source]
        source: io::Error,
    },
}

/// So much of a file is read at once.
const READ_BYTES: usize = 1 << 20;

/// Reads a file of this name, as [`read`] does.
pub fn read_file(path: &Path, each: impl FnMut(Bytes, Versioned) -> io::Result<()>) -> Result<Header, Error> {
    let opened = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing(path.into()),
        _ => Error::Closed { file: path.into(), source },
    })?;
    let header = read(io::BufReader::with_capacity(READ_BYTES, opened), each);
    header.map_err(|source| Error::Damaged { file: path.into(), source })
}

/// Reads a file to its end and holds every byte against its checksum. `each` gets the objects in order.
pub fn read(file: impl Read, mut each: impl FnMut(Bytes, Versioned) -> io::Result<()>) -> Result<Header, Damage> {
    let mut reader = Reader { file, at: 0, frames: 0, chain: crc32fast::Hasher::new(), last_key: None };
    let mut magic = [0; 16];
    reader.fill(&mut magic).map_err(|error| match error {
        Damage::Short { .. } => Damage::NoSnapshot,
        other => other,
    })?;
    if magic != *MAGIC {
        return Err(Damage::NoSnapshot);
    }
    let head = reader.frame(b'H')?;
    let header: Header = reader.decode(&head.body)?;
    if header.format != FORMAT {
        return Err(Damage::Format(header.format));
    }
    let (mut objects, mut bytes) = (0, 0);
    loop {
        let chain = reader.chain.clone().finalize();
        let frame = reader.frame(b'O')?;
        if frame.kind == b'E' {
            let end: End = reader.decode(&frame.body)?;
            let told = End { objects: header.objects, bytes: header.bytes, chain };
            if end != told || (objects, bytes) != (header.objects, header.bytes) {
                let why = format!("{objects} objects came, the header has {}, the end {}", header.objects, end.objects);
                return Err(reader.corrupt(frame.at, why));
            }
            return reader.ended().map(|()| header);
        }
        let mut rows = &frame.body[..];
        while !rows.is_empty() {
            let row = postcard::take_from_bytes::<(Bytes, Versioned)>(rows);
            let ((key, object), rest) = row.map_err(|error| reader.corrupt(frame.at, error.to_string()))?;
            (objects, bytes) = (objects + 1, bytes + size(&key, &object));
            reader.last_key = Some(key.clone());
            let at = reader.at;
            each(key, object).map_err(|source| Damage::Read { at, source })?;
            rows = rest;
        }
    }
}

struct Frame {
    at: u64,
    kind: u8,
    body: Vec<u8>,
}

struct Reader<R> {
    file: R,
    at: u64,
    frames: u64,
    chain: crc32fast::Hasher,
    last_key: Option<Bytes>,
}

impl<R: Read> Reader<R> {
    /// The next frame: of this kind, or (after the header) the end.
    fn frame(&mut self, kind: u8) -> Result<Frame, Damage> {
        let at = self.at;
        let mut head = [0; 8];
        self.fill(&mut head)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(self.corrupt(at, format!("a length of {length} bytes cannot be")));
        }
        let mut body = vec![0; length];
        self.fill(&mut body)?;
        let crc = crc32fast::hash(&body);
        if crc.to_le_bytes() != head[4..] {
            return Err(self.corrupt(at, "its checksum does not match".into()));
        }
        let found = body.remove(0);
        if found != kind && !(kind == b'O' && found == b'E') {
            return Err(self.corrupt(at, format!("a part of kind {found} is out of place")));
        }
        self.chain.update(&crc.to_le_bytes());
        self.frames += 1;
        Ok(Frame { at, kind: found, body })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Damage> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read(&mut buffer[filled..]) {
                Ok(0) => return Err(Damage::Short { at: self.at + filled as u64, what: self.what() }),
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Damage::Read { at: self.at, source }),
            }
        }
        self.at += filled as u64;
        Ok(())
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, body: &[u8]) -> Result<T, Damage> {
        postcard::from_bytes(body).map_err(|error| self.corrupt(self.at, error.to_string()))
    }

    fn ended(&mut self) -> Result<(), Damage> {
        let at = self.at;
        match self.fill(&mut [0]) {
            Err(Damage::Short { .. }) => Ok(()),
            Err(other) => Err(other),
            Ok(()) => Err(self.corrupt(at, "something stands behind the end".into())),
        }
    }

    /// The part under way, for a person who looks for what was lost.
    fn what(&self) -> String {
        match (self.frames, &self.last_key) {
            (0, _) => "the header".into(),
            (_, None) => "part 1 (the first objects)".into(),
            (n, Some(key)) => format!("part {n} (objects behind {:?})", String::from_utf8_lossy(key)),
        }
    }

    fn corrupt(&self, at: u64, why: String) -> Damage {
        Damage::Corrupt { at, what: self.what(), why }
    }
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
