//! Frames of SPDY/3.1, from bytes and to bytes. Pure: bytes are pushed in, frames come out.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::headers::{Headers, Packer, Unpacker};

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("version {0} of SPDY instead of 3")]
    Version(u16),
    #[error("a control frame of {0} bytes")]
    TooLong(usize),
    #[error("a control frame is cut short")]
    Short,
    #[error("headers: {0}")]
    Headers(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    SynStream {
        id: u32,
        fin: bool,
        headers: Headers,
    },
    SynReply {
        id: u32,
        fin: bool,
        headers: Headers,
    },
    Reset {
        id: u32,
        status: u32,
    },
    Ping(u32),
    GoAway {
        last: u32,
    },
    Headers {
        id: u32,
        fin: bool,
        headers: Headers,
    },
    WindowUpdate {
        id: u32,
        delta: u32,
    },
    /// A long frame comes out in pieces, the last of which has its FIN.
    Data {
        id: u32,
        fin: bool,
        bytes: Bytes,
    },
    /// Settings, and what a later version may add.
    Other(u16),
}

/// A stream that this side does not want.
pub const REFUSED_STREAM: u32 = 3;

const VERSION: u16 = 3;
const CONTROL: u16 = 0x8000;
const FIN: u8 = 1;
const HEADER_BYTES: usize = 8;
/// Control frames are small; data may be longer, as it is taken in pieces.
const CONTROL_BYTES_MAX: usize = 64 << 10;
const STREAM_MASK: u32 = 0x7fff_ffff;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

#[derive(Default)]
pub struct Decoder {
    buffer: BytesMut,
    unpacker: Unpacker,
    /// The data frame whose bytes are still coming.
    data: Option<Rest>,
}

struct Rest {
    id: u32,
    fin: bool,
    length: usize,
}

impl Decoder {
    /// Where to read into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next frame (or piece of data), when enough bytes are there. An error is for good.
    pub fn next(&mut self) -> Result<Option<Frame>, Error> {
        if let Some(rest) = self.data.take() {
            return Ok(self.piece(rest));
        }
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let first = u16::from_be_bytes([header[0], header[1]]);
        let kind = u16::from_be_bytes([header[2], header[3]]);
        let flags = header[4];
        let length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
        if first & CONTROL == 0 {
            let id = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
            self.buffer.advance(HEADER_BYTES);
            return Ok(self.piece(Rest { id, fin: flags & FIN != 0, length }));
        }
        if first & !CONTROL != VERSION {
            return Err(Error::Version(first & !CONTROL));
        }
        if length > CONTROL_BYTES_MAX {
            return Err(Error::TooLong(length));
        }
        if self.buffer.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let body = self.buffer.split_to(length).freeze();
        self.control(kind, flags & FIN != 0, body).map(Some)
    }

    fn piece(&mut self, mut rest: Rest) -> Option<Frame> {
        if rest.length > 0 && self.buffer.is_empty() {
            self.data = Some(rest);
            return None;
        }
        let bytes = self.buffer.split_to(rest.length.min(self.buffer.len())).freeze();
        rest.length -= bytes.len();
        let (id, last) = (rest.id, rest.length == 0);
        let fin = last && rest.fin;
        if !last {
            self.data = Some(rest);
        }
        Some(Frame::Data { id, fin, bytes })
    }

    fn control(&mut self, kind: u16, fin: bool, mut body: Bytes) -> Result<Frame, Error> {
        let mut number = || body.try_get_u32().map_err(|_| Error::Short);
        Ok(match kind {
            SYN_STREAM => {
                let id = number()? & STREAM_MASK;
                let _associated = number()?;
                // Priority and slot.
                body.try_get_u16().map_err(|_| Error::Short)?;
                Frame::SynStream { id, fin, headers: self.unpacker.unpack(&body)? }
            }
            SYN_REPLY => {
                let id = number()? & STREAM_MASK;
                Frame::SynReply { id, fin, headers: self.unpacker.unpack(&body)? }
            }
            HEADERS => {
                let id = number()? & STREAM_MASK;
                Frame::Headers { id, fin, headers: self.unpacker.unpack(&body)? }
            }
            RST_STREAM => Frame::Reset { id: number()? & STREAM_MASK, status: number()? },
            PING => Frame::Ping(number()?),
            GOAWAY => Frame::GoAway { last: number()? & STREAM_MASK },
            WINDOW_UPDATE => Frame::WindowUpdate { id: number()? & STREAM_MASK, delta: number()? & STREAM_MASK },
            other => Frame::Other(other),
        })
    }
}

#[derive(Default)]
pub struct Encoder(Packer);

impl Encoder {
    pub fn encode(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        match frame {
            Frame::SynStream { id, fin, headers } => {
                let mut body = Vec::new();
                body.put_u32(*id);
                body.put_u32(0);
                body.put_u16(0);
                body.extend(self.0.pack(headers));
                control(out, SYN_STREAM, *fin, &body);
            }
            Frame::SynReply { id, fin, headers } => self.with_headers(out, SYN_REPLY, *id, *fin, headers),
            Frame::Headers { id, fin, headers } => self.with_headers(out, HEADERS, *id, *fin, headers),
            Frame::Reset { id, status } => control(out, RST_STREAM, false, &two(*id, *status)),
            Frame::Ping(id) => control(out, PING, false, &id.to_be_bytes()),
            // The status that goes with it: fine.
            Frame::GoAway { last } => control(out, GOAWAY, false, &two(*last, 0)),
            Frame::WindowUpdate { id, delta } => control(out, WINDOW_UPDATE, false, &two(*id, *delta)),
            Frame::Data { id, fin, bytes } => {
                out.put_u32(*id);
                flags_and_length(out, *fin, bytes.len());
                out.extend_from_slice(bytes);
            }
            // No settings.
            Frame::Other(_) => control(out, SETTINGS, false, &0u32.to_be_bytes()),
        }
    }

    fn with_headers(&mut self, out: &mut Vec<u8>, kind: u16, id: u32, fin: bool, headers: &Headers) {
        let mut body = id.to_be_bytes().to_vec();
        body.extend(self.0.pack(headers));
        control(out, kind, fin, &body);
    }
}

fn control(out: &mut Vec<u8>, kind: u16, fin: bool, body: &[u8]) {
    out.put_u16(CONTROL | VERSION);
    out.put_u16(kind);
    flags_and_length(out, fin, body.len());
    out.extend_from_slice(body);
}

fn flags_and_length(out: &mut Vec<u8>, fin: bool, length: usize) {
    out.put_u8(if fin { FIN } else { 0 });
    out.put_uint(length as u64, 3);
}

fn two(first: u32, second: u32) -> [u8; 8] {
    (u64::from(first) << 32 | u64::from(second)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_frames() -> Vec<Frame> {
        let headers = |name: &str, value: &str| Headers::from([(name.to_owned(), value.to_owned())]);
        vec![
            Frame::SynStream { id: 1, fin: false, headers: headers("streamtype", "error") },
            Frame::SynReply { id: 1, fin: false, headers: Headers::new() },
            Frame::Data { id: 1, fin: false, bytes: "hello".into() },
            Frame::SynStream { id: 3, fin: true, headers: headers("streamtype", "stdin") },
            Frame::Headers { id: 3, fin: false, headers: headers("a", "b") },
            Frame::Ping(7),
            Frame::WindowUpdate { id: 3, delta: 65_536 },
            Frame::Other(SETTINGS),
            Frame::Reset { id: 3, status: 5 },
            Frame::Data { id: 1, fin: true, bytes: "goodbye".into() },
            Frame::Data { id: 5, fin: true, bytes: Bytes::new() },
            Frame::GoAway { last: 3 },
        ]
    }

    fn decode(chunks: impl Iterator<Item = Vec<u8>>) -> Result<Vec<Frame>, Error> {
        let (mut decoder, mut frames) = (Decoder::default(), Vec::<Frame>::new());
        for chunk in chunks {
            decoder.buffer().extend_from_slice(&chunk);
            while let Some(frame) = decoder.next()? {
                match (&frame, frames.last_mut()) {
                    (
                        Frame::Data { id, fin, bytes },
                        Some(Frame::Data { id: before, fin: ended @ false, bytes: so_far }),
                    ) if id == before => {
                        *so_far = [so_far.as_ref(), bytes].concat().into();
                        *ended = *fin;
                    }
                    _ => frames.push(frame),
                }
            }
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn frames_come_through_however_the_bytes_are_cut(size in 1..64usize) {
            let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
            for frame in some_frames() {
                encoder.encode(&frame, &mut bytes);
            }
            prop_assert_eq!(decode(bytes.chunks(size).map(<[u8]>::to_vec)).unwrap(), some_frames());
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(std::iter::once(bytes));
        }
    }

    #[test]
    fn bytes_are_as_the_draft_has_them() {
        let mut out = Vec::new();
        Encoder::default().encode(&Frame::Ping(0x01020304), &mut out);
        assert_eq!(out, [0x80, 3, 0, 6, 0, 0, 0, 4, 1, 2, 3, 4]);
        out.clear();
        Encoder::default().encode(&Frame::Data { id: 5, fin: true, bytes: "ab".into() }, &mut out);
        assert_eq!(out, [0, 0, 0, 5, 1, 0, 0, 2, b'a', b'b']);
    }

    #[test]
    fn what_is_no_spdy_is_refused() {
        assert_eq!(decode(std::iter::once(vec![0x80, 2, 0, 6, 0, 0, 0, 0])), Err(Error::Version(2)));
        assert_eq!(decode(std::iter::once(vec![0x80, 3, 0, 1, 0, 0xff, 0, 0])), Err(Error::TooLong(0xff_0000)));
        assert_eq!(decode(std::iter::once(vec![0x80, 3, 0, 6, 0, 0, 0, 1, 9])), Err(Error::Short));
    }
}
