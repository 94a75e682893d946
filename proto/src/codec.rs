//! Messages as gRPC frames, as tonic's own codec for prost makes them, in buffers that fit. tonic's takes 8 KiB for each
//! answer, and lets a larger message grow there by doubling, which copies it. Acts.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// What most answers need. Larger messages ask for what they need.
const BYTES: usize = 256;
/// Messages that are ready together leave together, up to about so much; as in tonic.
const TOGETHER_BYTES: usize = 32 << 10;

/// The generated services and clients name it.
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Codec(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Whole<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Whole<T> {
        Whole(PhantomData)
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::default()
    }
}

/// Makes room for the whole message first.
pub struct Whole<T>(PhantomData<T>);

impl<T: Message> Encoder for Whole<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BYTES, TOGETHER_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tonic::codec::{Codec as _, EncodeBody, Streaming};

    use super::*;
    use crate::peer::{ForwardBatch, Forwarded};

    #[tokio::test]
    async fn messages_of_all_sizes_arrive_as_they_were() {
        let sizes = [0, 1, 200, 300, 1_000, 2_600, 20_000, 3_000_000, 5];
        let command = |size: usize| Bytes::from_iter((0..size).map(|at| at as u8));
        let batch = |size| ForwardBatch { items: vec![Forwarded { id: size as u64, command: command(size) }] };
        let mut codec = Codec::<ForwardBatch, ForwardBatch>::default();
        let sent = tokio_stream::iter(sizes.map(|size| Ok(batch(size))));
        let frames = EncodeBody::new_client(codec.encoder(), sent, None, None);
        let mut received = Streaming::new_request(codec.decoder(), frames, None, None);
        for size in sizes {
            assert_eq!(received.message().await.unwrap(), Some(batch(size)));
        }
        assert_eq!(received.message().await.unwrap(), None);
    }
}
