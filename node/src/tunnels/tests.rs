//! Logs, exec and port-forward against a runtime in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use proto::seam::Env;
use proto::session::{Exec, Frame, Logs, PortForward, frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{END_POLL, Streams, carry, pump};
use crate::agent::{Directory, Place};
use crate::runtime::fake::{Fake, Script};
use crate::runtime::{Chunk, ContainerId, ContainerSpec, Error, Process, Resize, Runtime as _};
use crate::session::{Output, Request, TunnelIo, Tunnels as _};

struct Stage {
    fake: Fake,
    streams: Streams,
    id: ContainerId,
}

/// A Pod `web` with the one container `app`, which runs.
async fn stage() -> Stage {
    let env = Env::real();
    let fake = Fake::new(env.clock.clone());
    fake.script("nginx:1", Script { logs: "one\ntwo\nthree\n".into(), ..Script::default() });
    let id = fake.create(&spec()).await.unwrap();
    fake.start(&id).await.unwrap();
    let directory = Arc::new(Directory::default());
    let containers = fake.all();
    let ip = containers[0].ip;
    directory.put("default", "web", Place { uid: "u1".into(), names: vec!["app".into()], ip, containers });
    let streams = Streams { runtime: Arc::new(fake.clone()), directory, clock: env.clock };
    Stage { fake, streams, id }
}

fn spec() -> ContainerSpec {
    let pod = serde_json::json!({"metadata": {"name": "web", "namespace": "default", "uid": "u1"},
                                 "spec": {"containers": []}});
    let pod = serde_json::from_value(pod).unwrap();
    let host = crate::pod::Host {
        owner: crate::runtime::Owner { cluster: "c".into(), node: "n1".into() },
        node_name: "n1".into(),
        ip: "127.0.0.1".parse().unwrap(),
        data_dir: "/data".into(),
        pause_image: "nginx:1".into(),
        pod_network: "pods".into(),
        dns_servers: Vec::new(),
        cluster_domain: "cluster.local".into(),
        capacity: Default::default(),
    };
    let mut spec = crate::pod::pause(&pod, &host, 0);
    spec.labels.container = "app".into();
    spec.labels.role = crate::runtime::Role::App;
    spec
}

impl Stage {
    /// Serves a request to its end: what went to stdout, the exit code, the error.
    async fn serve(&self, request: Request, input: &[&str]) -> (String, i32, String) {
        let (frames, mut received) = mpsc::channel(64);
        let (stdin, stdin_end) = mpsc::channel(64);
        let (_resize, resize) = mpsc::channel(1);
        for text in input {
            stdin.send(Bytes::from(text.to_string())).await.unwrap();
        }
        drop(stdin);
        let io = TunnelIo { stdin: stdin_end, resize, output: Output::new(frames), gone: CancellationToken::new() };
        self.streams.serve(request, io).await;
        let mut text = Vec::new();
        while let Some(Frame { frame }) = received.recv().await {
            match frame.unwrap() {
                frame::Frame::Stdout(bytes) => text.extend_from_slice(&bytes),
                frame::Frame::End(end) => return (String::from_utf8(text).unwrap(), end.code, end.error),
                other => panic!("{other:?}"),
            }
        }
        panic!("the stream did not say how it ended");
    }
}

fn logs() -> Logs {
    Logs { namespace: "default".into(), pod: "web".into(), pod_uid: "u1".into(), ..Logs::default() }
}

fn exec(command: &[&str], stdin: bool) -> Request {
    Request::Exec(Exec {
        namespace: "default".into(),
        pod: "web".into(),
        command: command.iter().map(|word| word.to_string()).collect(),
        stdin,
        stdout: true,
        stderr: true,
        ..Exec::default()
    })
}

#[tokio::test]
async fn logs_are_cut_as_asked() {
    let stage = stage().await;
    assert_eq!(stage.serve(Request::Logs(logs()), &[]).await.0, "one\ntwo\nthree\n");
    let tail = Logs { tail_lines: Some(1), ..logs() };
    assert_eq!(stage.serve(Request::Logs(tail), &[]).await.0, "three\n");
    let cut = Logs { limit_bytes: Some(6), ..logs() };
    assert_eq!(stage.serve(Request::Logs(cut), &[]).await.0, "one\ntw");
}

#[tokio::test]
async fn a_command_gets_its_input_and_gives_its_exit_code() {
    let stage = stage().await;
    assert_eq!(stage.serve(exec(&["exit", "7"], false), &[]).await.1, 7);
    let (text, code, error) = stage.serve(exec(&["cat"], true), &["half ", "closed"]).await;
    assert_eq!((text.as_str(), code, error.as_str()), ("half closed", 0, ""));
    let (_, _, error) = stage.serve(exec(&["nope"], false), &[]).await;
    assert!(error.contains("not found"), "{error}");
}

#[tokio::test]
async fn a_port_is_forwarded_both_ways() {
    let stage = stage().await;
    let forward = PortForward { namespace: "default".into(), pod: "web".into(), port: 80, ..PortForward::default() };
    let (text, _, error) = stage.serve(Request::PortForward(forward), &["GET / HTTP/1.1\r\n\r\n"]).await;
    assert_eq!(error, "");
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
}

/// One who reads to the end of a request before answering, and takes its time over it.
#[tokio::test(start_paused = true)]
async fn a_caller_that_has_said_all_is_told_all_that_its_port_still_says() {
    let (near, mut far) = tokio::io::duplex(64);
    let answering = async move {
        let mut asked = String::new();
        far.read_to_string(&mut asked).await.unwrap();
        for word in [asked.as_str(), "one ", "two ", "three"] {
            sleep(Duration::from_secs(60)).await;
            far.write_all(word.as_bytes()).await.unwrap();
        }
    };
    let ((frames, mut received), (stdin, stdin_end), (_resize, resize)) =
        (mpsc::channel(64), mpsc::channel(64), mpsc::channel(1));
    stdin.send(Bytes::from_static(b"zero ")).await.unwrap();
    drop(stdin);
    let io = TunnelIo { stdin: stdin_end, resize, output: Output::new(frames), gone: CancellationToken::new() };
    let both = async { tokio::join!(carry(Box::new(near), io), answering) };
    let (carried, ()) = timeout(Duration::from_secs(3600), both).await.expect("the port is told that this was all");
    assert_eq!(carried, Ok(0));
    let mut text = Vec::new();
    while let Some(Frame { frame: Some(frame::Frame::Stdout(bytes)) }) = received.recv().await {
        text.extend_from_slice(&bytes);
    }
    assert_eq!(String::from_utf8(text).unwrap(), "zero one two three");
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_its_reason() {
    let stage = stage().await;
    let refusal = async |request: Request| {
        let refusal = stage.streams.check(&request).await.unwrap_err();
        (refusal.code, refusal.reason)
    };
    let other = Logs { pod: "other".into(), ..logs() };
    assert_eq!(refusal(Request::Logs(other)).await, (404, "pod \"other\" is not on this node".into()));
    let older = Logs { pod_uid: "u0".into(), ..logs() };
    assert_eq!(refusal(Request::Logs(older)).await.0, 404);
    let wrong = Logs { container: "side".into(), ..logs() };
    assert_eq!(refusal(Request::Logs(wrong)).await, (400, "container side is not valid for pod web".into()));
    let previous = Logs { previous: true, ..logs() };
    let expected = "previous terminated container \"app\" in pod \"web\" not found";
    assert_eq!(refusal(Request::Logs(previous)).await, (400, expected.into()));
    stage.fake.exit(&stage.id, 0);
    let containers = stage.fake.all();
    let place = Place { uid: "u1".into(), names: vec!["app".into()], ip: None, containers };
    stage.streams.directory.put("default", "web", place);
    let expected = "container \"app\" of pod \"web\" is not running";
    assert_eq!(refusal(exec(&["true"], false)).await, (400, expected.into()));
}

struct NoTerminal;

#[async_trait::async_trait]
impl Resize for NoTerminal {
    async fn resize(&self, _: u16, _: u16) -> Result<(), Error> {
        Ok(())
    }

    async fn exit_code(&self) -> Result<Option<i32>, Error> {
        Ok(Some(0))
    }
}

/// Moves four chunks of a process that has ended, where the engine leaves its stream open.
async fn pump_rest(frames: mpsc::Sender<Frame>) -> Result<Box<dyn Resize>, String> {
    let chunks = ["one ", "two ", "three ", "four"].map(|text| Ok::<_, Error>(Chunk::Stdout(Bytes::from(text))));
    let output = stream::iter(chunks).chain(stream::pending()).boxed();
    let process = Process { input: Box::pin(tokio::io::sink()), output, control: Box::new(NoTerminal) };
    let ((_, stdin), (_, resize)) = (mpsc::channel(1), mpsc::channel(1));
    let io = TunnelIo { stdin, resize, output: Output::new(frames), gone: CancellationToken::new() };
    pump(process, io, false, std::future::ready(())).await
}

#[tokio::test(start_paused = true)]
async fn a_slow_caller_gets_all_that_an_ended_process_has_written() {
    let (frames, mut received) = mpsc::channel(1);
    let reading = async {
        let mut text = Vec::new();
        loop {
            sleep(END_POLL * 10).await;
            match received.recv().await {
                Some(Frame { frame: Some(frame::Frame::Stdout(bytes)) }) => text.extend_from_slice(&bytes),
                None => return String::from_utf8(text).unwrap(),
                other => panic!("{other:?}"),
            }
        }
    };
    let (pumped, text) = tokio::join!(pump_rest(frames), reading);
    assert!(pumped.is_ok());
    assert_eq!(text, "one two three four");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_takes_nothing_is_waited_for_until_it_hangs_up() {
    let (frames, received) = mpsc::channel(1);
    let mut pumping = std::pin::pin!(pump_rest(frames));
    assert!(timeout(Duration::from_secs(600), &mut pumping).await.is_err(), "it may yet take the rest");
    drop(received);
    assert!(timeout(Duration::from_secs(1), pumping).await.is_ok(), "nobody is left to take it");
}
