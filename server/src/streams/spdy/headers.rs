//! Header blocks: names and values, compressed with one zlib stream per connection and direction. Pure.

use std::collections::BTreeMap;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;
use super::frame::Error;

/// Names are lower case. Several values of a name are joined by NUL, as on the wire.
pub type Headers = BTreeMap<String, String>;

/// A block may not grow beyond this when it is unpacked.
const BLOCK_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: u32 = 256;

pub struct Packer(Compress);

pub struct Unpacker {
    inflate: Decompress,
    dictionary: Vec<u8>,
}

impl Default for Packer {
    fn default() -> Packer {
        let mut deflate = Compress::new(Compression::default(), true);
        deflate.set_dictionary(&dictionary()).expect("a fresh stream takes a dictionary");
        Packer(deflate)
    }
}

impl Packer {
    pub fn pack(&mut self, headers: &Headers) -> Vec<u8> {
        let mut block = Vec::new();
        let string = |block: &mut Vec<u8>, text: &str| {
            block.extend((text.len() as u32).to_be_bytes());
            block.extend(text.as_bytes());
        };
        block.extend((headers.len() as u32).to_be_bytes());
        for (name, value) in headers {
            string(&mut block, name);
            string(&mut block, value);
        }
        let mut packed = Vec::with_capacity(block.len() + 64);
        let start = self.0.total_in();
        loop {
            let taken = (self.0.total_in() - start) as usize;
            self.0.compress_vec(&block[taken..], &mut packed, FlushCompress::Sync).expect("the stream is well-formed");
            // Room left over means that everything was flushed.
            if (self.0.total_in() - start) as usize == block.len() && packed.len() < packed.capacity() {
                return packed;
            }
            packed.reserve(packed.capacity().max(64));
        }
    }
}

impl Default for Unpacker {
    fn default() -> Unpacker {
        Unpacker { inflate: Decompress::new(true), dictionary: dictionary() }
    }
}

impl Unpacker {
    pub fn unpack(&mut self, packed: &[u8]) -> Result<Headers, Error> {
        parse(&self.inflate(packed)?)
    }

    fn inflate(&mut self, packed: &[u8]) -> Result<Vec<u8>, Error> {
        let mut block = Vec::with_capacity((packed.len() * 4).clamp(256, BLOCK_BYTES_MAX));
        let start = self.inflate.total_in();
        loop {
            let taken = (self.inflate.total_in() - start) as usize;
            match self.inflate.decompress_vec(&packed[taken..], &mut block, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Err(Error::Headers("the stream of header blocks ended")),
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate.set_dictionary(&self.dictionary).map_err(|_| Error::Headers("another dictionary"))?;
                    continue;
                }
                Err(_) => return Err(Error::Headers("not compressed as agreed")),
            }
            if (self.inflate.total_in() - start) as usize == packed.len() && block.len() < block.capacity() {
                return Ok(block);
            }
            if block.len() >= BLOCK_BYTES_MAX {
                return Err(Error::Headers("too large"));
            }
            block.reserve(block.capacity());
        }
    }
}

fn parse(block: &[u8]) -> Result<Headers, Error> {
    let mut rest = block;
    let count = number(&mut rest)?;
    if count > HEADERS_MAX {
        return Err(Error::Headers("too many"));
    }
    let mut headers = Headers::new();
    for _ in 0..count {
        let (name, value) = (string(&mut rest)?, string(&mut rest)?);
        headers.insert(name.to_ascii_lowercase(), value);
    }
    Ok(headers)
}

const SHORT: Error = Error::Headers("cut short");

fn number(rest: &mut &[u8]) -> Result<u32, Error> {
    let (bytes, after) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    *rest = after;
    Ok(u32::from_be_bytes(*bytes))
}

fn string(rest: &mut &[u8]) -> Result<String, Error> {
    let length = number(rest)? as usize;
    let (bytes, after) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = after;
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Headers("not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn blocks_of_one_connection_come_through_in_turn() {
        let (mut packer, mut unpacker) = (Packer::default(), Unpacker::default());
        let long = "x".repeat(20_000);
        for pairs in [&[("streamtype", "error")][..], &[("streamtype", "stdin"), ("port", "80")], &[], &[("a", &long)]]
        {
            let packed = packer.pack(&headers(pairs));
            assert_eq!(unpacker.unpack(&packed).unwrap(), headers(pairs));
        }
    }

    #[test]
    fn a_block_begins_with_the_agreed_dictionary() {
        let packed = Packer::default().pack(&headers(&[("status", "200 OK")]));
        assert_eq!(packed[2..6], 0xe3c6_a7c2_u32.to_be_bytes());
    }

    #[test]
    fn garbage_and_bombs_are_refused() {
        assert!(Unpacker::default().unpack(b"nonsense, certainly").is_err());
        let bomb = headers(&[("a", &"0".repeat(BLOCK_BYTES_MAX * 4))]);
        let packed = Packer::default().pack(&bomb);
        assert!(packed.len() < 4096);
        assert!(Unpacker::default().unpack(&packed).is_err());
        assert!(parse(&[0, 0, 0, 1, 0, 0, 0, 9, b'x']).is_err());
        assert!(parse(&[255, 255, 255, 255]).is_err());
    }
}
