//! What a client took back while the process was frozen is not begun when it goes on, and what it does not take is not
//! kept for it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use axum::routing::{get, post};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use jiff::Timestamp;
use proto::pki::{API_NAME, Authority};
use proto::tls::{ClientCertificate, Identity as Pem};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

use super::*;
use crate::http::accept::Shape;
use crate::http::list;
use crate::http::shapes::View;
use crate::objects::offer::PATIENCE;
use crate::objects::{Object, Page, Target};

/// The server's end of a connection; nothing is read from it while it is held.
struct Held {
    stream: DuplexStream,
    hold: Hold,
}

#[derive(Clone, Default)]
struct Hold(Arc<Mutex<(bool, Option<Waker>)>>);

impl Hold {
    fn set(&self, holds: bool) {
        let mut inner = self.0.lock().unwrap();
        inner.0 = holds;
        inner.1.take().into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut hold = self.hold.0.lock().unwrap();
        if hold.0 {
            hold.1 = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(hold);
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

struct Incoming(mpsc::Receiver<Box<dyn Stream>>);

#[async_trait::async_trait]
impl Listener for Incoming {
    async fn accept(&mut self) -> std::io::Result<(Box<dyn Stream>, SocketAddr)> {
        match self.0.recv().await {
            Some(stream) => Ok((stream, self.local_address()?)),
            None => std::future::pending().await,
        }
    }

    fn local_address(&self) -> std::io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 1).into())
    }
}

async fn serve_one(router: Router, hold: Hold) -> SendRequest<Full<Bytes>> {
    proto::tls::install_provider();
    let authority = Authority::make("test").unwrap();
    let hosts = [API_NAME.to_owned()];
    let request = proto::pki::Request { common_name: "test", organizations: &[], hosts: &hosts };
    let pair = authority.sign(&request).unwrap();
    let authority_pem = authority.certificate_pem().to_owned();
    let pem = Pem { certificate_pem: pair.certificate_pem, key_pem: pair.key_pem, authority_pem };
    let acceptor = proto::tls::acceptor(&pem, ClientCertificate::Required, &["h2"]).unwrap();
    let (near, far) = tokio::io::duplex(1 << 16);
    let (connections, incoming) = mpsc::channel(1);
    assert!(connections.try_send(Box::new(Held { stream: near, hold }) as Box<dyn Stream>).is_ok());
    tokio::spawn(serve(Box::new(Incoming(incoming)), acceptor, router, CancellationToken::new()));
    let connector = proto::tls::connector(&pem, &["h2"]).unwrap();
    let stream = proto::tls::connect(&connector, API_NAME, Box::new(far)).await.unwrap();
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

fn write() -> Request<Full<Bytes>> {
    Request::post("http://kontiki.internal/write").body(Full::from("something")).unwrap()
}

/// Lets all tasks do what they can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_that_was_taken_back_before_it_was_read_is_not_begun() {
    let (hold, begun) = (Hold::default(), Arc::new(AtomicUsize::default()));
    let counted = begun.clone();
    let count = move |_: Bytes| {
        counted.fetch_add(1, Relaxed);
        async {}
    };
    let mut client = serve_one(Router::new().route("/write", post(count)), hold.clone()).await;
    client.send_request(write()).await.unwrap();
    hold.set(true);
    let given_up = tokio::spawn(client.send_request(write()));
    settle().await;
    given_up.abort();
    settle().await;
    hold.set(false);
    settle().await;
    assert_eq!(begun.load(Relaxed), 1, "begun though nobody waits for it");
    client.send_request(write()).await.unwrap();
    assert_eq!(begun.load(Relaxed), 2, "the connection lives");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_its_client_does_not_take_is_let_go_while_the_connection_goes_on() {
    // Together more than the client's window and the server's buffers.
    let value = "x".repeat(100_000);
    let stored =
        format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},"data":{{"k":"{value}"}}}}"#);
    let stored = Bytes::from(stored);
    let items = (1..=100).map(|revision| Object::new(stored.clone(), revision)).collect();
    let page = Arc::new(Mutex::new(Page { items, ..Page::default() }));
    let answer = move || {
        let page = std::mem::take(&mut *page.lock().unwrap());
        async move {
            let target = Target::collection(api::kinds::find("", "v1", "configmaps").unwrap(), "default");
            let view = View { shape: Shape::Json, include: Default::default(), now: Timestamp::UNIX_EPOCH };
            list::show(&target, view, page).unwrap()
        }
    };
    let read = || Request::get("http://kontiki.internal/list").body(Full::default()).unwrap();
    let mut client = serve_one(Router::new().route("/list", get(answer)), Hold::default()).await;
    let mut body = client.send_request(read()).await.unwrap().into_body();
    assert!(!stored.is_unique(), "the list is under way");
    tokio::time::sleep(PATIENCE * 5 / 2).await;
    assert!(stored.is_unique(), "kept for who takes nothing");

    let mut taken = 0;
    let error = loop {
        match tokio::time::timeout(PATIENCE, body.frame()).await.expect("it ends") {
            Some(Ok(frame)) => taken += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(error.is_some(), "{taken} bytes pass for a whole list");
    client.send_request(read()).await.expect("the connection lives");
}
