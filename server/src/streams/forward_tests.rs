use std::sync::Mutex;

use proto::session::{End, frame};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::streams::fixtures;
use crate::streams::spdy::{Decoder, Encoder};

const BUFFER_BYTES: usize = 64 << 10;
const LONG: Duration = Duration::from_secs(3600);

/// The client's side.
struct Client {
    stream: DuplexStream,
    encoder: Encoder,
    decoder: Decoder,
}

impl Client {
    async fn send(&mut self, frame: Frame) {
        let mut out = Vec::new();
        self.encoder.encode(&frame, &mut out);
        self.stream.write_all(&out).await.unwrap();
    }

    /// A stream of a pair, once it is accepted.
    async fn open(&mut self, id: u32, kind: &str, request: &str) {
        self.send(Frame::SynStream { id, fin: false, headers: headers(kind, request, "80") }).await;
        let answer = self.next().await.expect("an answer");
        assert!(matches!(answer, Frame::SynReply { id: accepted, .. } if accepted == id), "{answer:?}");
    }

    /// `None`: the server has closed.
    async fn next(&mut self) -> Option<Frame> {
        // Data comes out in pieces where the buffer has no room for all of it.
        self.decoder.buffer().reserve(BUFFER_BYTES);
        loop {
            match self.decoder.next().unwrap() {
                Some(Frame::Ping(_)) => {}
                Some(frame) => return Some(frame),
                None => match self.stream.read_buf(self.decoder.buffer()).await.unwrap() {
                    0 => return None,
                    _ => continue,
                },
            }
        }
    }
}

/// A client of a server whose ports are never reached.
fn begun(run: &CancellationToken) -> (Client, JoinHandle<()>) {
    begun_with(run, |_| std::future::pending::<Result<Tunnel, Status>>())
}

fn begun_with<F>(run: &CancellationToken, open: impl Fn(u16) -> F + Clone + Send + 'static) -> (Client, JoinHandle<()>)
where
    F: Future<Output = Result<Tunnel, Status>> + Send + 'static,
{
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    let run = run.clone();
    let served = tokio::spawn(async move { serve(Connection::over(far), "web", open, run).await });
    (Client { stream: near, encoder: Encoder::default(), decoder: Decoder::default() }, served)
}

fn fin(id: u32, text: &str) -> Option<Frame> {
    Some(Frame::Data { id, fin: true, bytes: text.to_owned().into() })
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_when_its_data_stream_is_reset() {
    let run = CancellationToken::new();
    let (mut client, _served) = begun(&run);
    client.open(1, "error", "0").await;
    client.open(3, "data", "0").await;
    client.send(Frame::Data { id: 3, fin: true, bytes: "hello".into() }).await;
    client.send(Frame::Reset { id: 3, status: 5 }).await;
    assert_eq!(client.next().await, fin(1, ""), "the client waits for that");
}

#[tokio::test(start_paused = true)]
async fn half_pairs_that_were_reset_take_no_room() {
    let run = CancellationToken::new();
    let (mut client, _served) = begun(&run);
    for n in 0..=FORWARDS_MAX as u32 {
        client.open(2 * n + 1, "error", &n.to_string()).await;
        client.send(Frame::Reset { id: 2 * n + 1, status: 5 }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_is_told_and_ended_at_the_end_of_the_run() {
    let run = CancellationToken::new();
    let (mut client, served) = begun(&run);
    client.open(1, "error", "0").await;
    client.open(3, "data", "0").await;
    run.cancel();
    all_is_told(client).await;
    served.await.unwrap();
}

async fn all_is_told(mut client: Client) {
    assert_eq!(client.next().await, fin(3, ""));
    let why = "error forwarding port 80 to pod web: the replica that the stream went through ends its run";
    assert_eq!(client.next().await, fin(1, why));
    assert_eq!(client.next().await, Some(Frame::GoAway { last: 3 }));
    assert_eq!(client.next().await, None);
}

/// A client that has sent more than a port takes, which takes nothing.
async fn stuck(run: &CancellationToken) -> (Client, JoinHandle<()>) {
    let (mut client, served) = begun(run);
    client.open(1, "error", "0").await;
    client.open(3, "data", "0").await;
    let all = client.send(Frame::Data { id: 3, fin: false, bytes: vec![0u8; 16 * WAITING_BYTES_MAX].into() });
    assert!(timeout(Duration::from_secs(1), all).await.is_err(), "not all is taken");
    (client, served)
}

#[tokio::test(start_paused = true)]
async fn a_port_that_takes_nothing_is_left_when_its_client_is_gone() {
    let run = CancellationToken::new();
    let (client, served) = stuck(&run).await;
    drop(client);
    timeout(LONG, served).await.expect("the client is gone").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_port_that_takes_nothing_is_left_at_the_end_of_the_run() {
    let run = CancellationToken::new();
    let (client, served) = stuck(&run).await;
    run.cancel();
    timeout(LONG, served).await.expect("the run is over").unwrap();
    all_is_told(client).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_port_keeps_nothing_else_waiting() {
    let run = CancellationToken::new();
    let (mut client, _served) = begun(&run);
    client.open(1, "error", "0").await;
    client.open(3, "data", "0").await;
    for _ in 0..1000 {
        client.send(Frame::Data { id: 3, fin: false, bytes: "x".into() }).await;
    }
    let others = async {
        client.open(5, "error", "1").await;
        client.open(7, "data", "1").await;
        client.send(Frame::Reset { id: 3, status: 5 }).await;
        assert_eq!(client.next().await, fin(1, ""));
    };
    timeout(LONG, others).await.expect("other streams are heard");
}

#[tokio::test(start_paused = true)]
async fn a_slow_port_gets_every_byte_in_order() {
    let run = CancellationToken::new();
    let (tunnel, mut agent) = fixtures::tunnel().await;
    let tunnel = Arc::new(Mutex::new(Some(tunnel)));
    let (mut client, _served) = begun_with(&run, move |_| {
        let tunnel = tunnel.lock().unwrap().take();
        async move { Ok(tunnel.expect("it is opened once")) }
    });
    client.open(1, "error", "0").await;
    client.open(3, "data", "0").await;
    let sent: Vec<u8> = (0..16 * WAITING_BYTES_MAX).map(|at| (at / 251) as u8).collect();
    let taken = async {
        let mut taken = Vec::new();
        while let Some(frame::Frame::Stdin(bytes)) = agent.message().await.unwrap().and_then(|message| message.frame) {
            sleep(Duration::from_secs(1)).await;
            taken.extend(bytes);
        }
        taken
    };
    let all = client.send(Frame::Data { id: 3, fin: true, bytes: sent.clone().into() });
    let both = timeout(LONG, async { tokio::join!(all, taken) });
    let ((), taken) = both.await.expect("it is slow, and not stuck");
    assert!(taken == sent, "{} of {} bytes", taken.len(), sent.len());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_said_all_is_told_all_that_its_port_still_says() {
    let run = CancellationToken::new();
    let (says, said) = mpsc::channel(8);
    let (tunnel, mut agent) = fixtures::tunnel_to(ReceiverStream::new(said)).await;
    let tunnel = Arc::new(Mutex::new(Some(tunnel)));
    let (mut client, _served) = begun_with(&run, move |_| {
        let tunnel = tunnel.lock().unwrap().take();
        async move { Ok(tunnel.expect("it is opened once")) }
    });
    client.open(1, "error", "0").await;
    client.open(3, "data", "0").await;
    client.send(Frame::Data { id: 3, fin: true, bytes: "all".into() }).await;
    for heard in [frame::Frame::Stdin("all".into()), frame::Frame::StdinEnd(true)] {
        let message = timeout(LONG, agent.message()).await.expect("the agent is told").unwrap();
        assert_eq!(message.and_then(|message| message.frame), Some(heard));
    }
    for word in ["one", "two"] {
        sleep(Duration::from_secs(60)).await;
        says.send(proto::session::Frame { frame: Some(frame::Frame::Stdout(word.into())) }).await.unwrap();
        let bytes = Bytes::from_static(word.as_bytes());
        assert_eq!(timeout(LONG, client.next()).await, Ok(Some(Frame::Data { id: 3, fin: false, bytes })));
    }
    says.send(proto::session::Frame { frame: Some(frame::Frame::End(End::default())) }).await.unwrap();
    assert_eq!(timeout(LONG, client.next()).await, Ok(fin(3, "")));
    assert_eq!(timeout(LONG, client.next()).await, Ok(fin(1, "")));
}

fn stream(kind: &str, request: &str, port: &str) -> Option<Asked> {
    read(&headers(kind, request, port))
}

fn headers(kind: &str, request: &str, port: &str) -> Headers {
    let pairs = [("streamtype", kind), ("requestid", request), ("port", port)];
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn streams_pair_up_by_request() {
    let mut pairs = BTreeMap::new();
    assert_eq!(join(&mut pairs, stream("error", "0", "80").unwrap(), 1), None);
    assert_eq!(join(&mut pairs, stream("error", "1", "80").unwrap(), 3), None);
    assert_eq!(join(&mut pairs, stream("data", "0", "80").unwrap(), 5), Some((80, 1, 5)));
    assert_eq!(join(&mut pairs, stream("data", "1", "80").unwrap(), 7), Some((80, 3, 7)));
    assert!(pairs.is_empty());
}

#[test]
fn streams_that_make_no_sense_are_refused() {
    for (kind, port) in [("data", "0"), ("data", "99999"), ("data", ""), ("stdin", "80")] {
        assert!(stream(kind, "0", port).is_none(), "{kind} {port}");
    }
}
