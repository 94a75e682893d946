//! A byte stream inside a WebSocket. Acts.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::extract::ws::Message;
use bytes::Bytes;
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

use super::websocket;

const BUFFER_BYTES: usize = 64 << 10;
/// For the WebSocket's own close, and for the client's after that.
const LINGER_MAX: Duration = Duration::from_secs(3);

/// Serves the byte stream inside a WebSocket. `serve` ends with its client, whatever it waits for.
pub async fn serve<E, F: Future<Output = ()>>(
    messages: impl Stream<Item = Result<Message, E>> + Unpin,
    sink: impl Sink<Message> + Unpin,
    serve: impl FnOnce(DuplexStream) -> F,
) {
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    let mut carried = pin!(carry(messages, sink, far));
    tokio::select! {
        () = &mut carried => {}
        () = serve(near) => carried.await,
    }
}

/// Bytes between a WebSocket's binary messages and a byte stream, until either side ends.
async fn carry<E>(
    mut messages: impl Stream<Item = Result<Message, E>> + Unpin,
    mut sink: impl Sink<Message> + Unpin,
    stream: DuplexStream,
) {
    let (mut read, mut write) = tokio::io::split(stream);
    let inbound = async {
        while let Some(Ok(message)) = messages.next().await {
            match message {
                Message::Binary(bytes) if write.write_all(&bytes).await.is_err() => break,
                Message::Close(_) => break,
                _ => {}
            }
        }
        let _ = write.shutdown().await;
    };
    let outbound = async {
        let (mut buffer, mut pings) = (vec![0; BUFFER_BYTES], websocket::pings());
        loop {
            let message = tokio::select! {
                read = read.read(&mut buffer) => match read {
                    Ok(length @ 1..) => Message::Binary(Bytes::copy_from_slice(&buffer[..length])),
                    _ => break,
                },
                _ = pings.tick() => Message::Ping(Bytes::new()),
            };
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = timeout(LINGER_MAX, sink.send(Message::Close(None))).await;
    };
    let (mut inbound, mut outbound) = (pin!(inbound), pin!(outbound));
    tokio::select! {
        () = &mut inbound => outbound.await,
        // A client that says nothing more is not waited for.
        () = &mut outbound => drop(timeout(LINGER_MAX, inbound).await),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::channel::mpsc;
    use futures::stream::pending;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_pinged_and_not_waited_for_at_the_end() {
        let (near, far) = tokio::io::duplex(64);
        let (sink, mut sent) = mpsc::unbounded();
        let carried = tokio::spawn(carry(pending::<Result<Message, Infallible>>(), sink, far));
        assert_eq!(sent.next().await, Some(Message::Ping(Bytes::new())));
        let end = Instant::now();
        drop(near);
        assert_eq!(sent.next().await, Some(Message::Close(None)));
        carried.await.unwrap();
        assert_eq!(end.elapsed(), LINGER_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_served_ends_with_its_client() {
        let (sink, sent) = mpsc::unbounded::<Message>();
        drop(sent);
        let waits = |near: DuplexStream| async move {
            std::future::pending::<()>().await;
            drop(near);
        };
        let served = serve(pending::<Result<Message, Infallible>>(), sink, waits);
        timeout(Duration::from_secs(3600), served).await.expect("nobody is there");
    }
}
