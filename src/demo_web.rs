//! `kontiki demo-web`: a small web server to look at: answers with hostname, Pod IP and request count. Acts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// A request's head; a longer one is answered with 431.
const HEAD_BYTES_MAX: usize = 8 << 10;
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 256;

static REQUESTS: AtomicU64 = AtomicU64::new(0);

#[derive(clap::Args)]
pub struct Args {
    /// The port to listen on.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// A word to answer with besides, such as a version.
    #[arg(long, env = "MESSAGE", default_value = "kontiki demo")]
    message: String,
}

pub fn run(args: Args) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("0.0.0.0", args.port)).await?;
        println!("demo-web listens on port {}", args.port);
        let message: &'static str = args.message.leak();
        let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
                    tokio::spawn(async move {
                        // A client that goes away or dawdles is its own affair.
                        let _ = tokio::time::timeout(REQUEST_DEADLINE, answer(stream, message)).await;
                        drop(slot);
                    });
                }
            }
        }
    })
}

async fn answer(mut stream: TcpStream, message: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX {
            return stream
                .write_all(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
                .await;
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(&head);
    let path = line.split_whitespace().nth(1).unwrap_or("/").to_owned();
    let count = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
    let hostname = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let address = stream.local_addr()?.ip();
    println!("{path} from {} is request {count}", stream.peer_addr()?.ip());
    let body = format!("{message}\nhostname: {}\npod ip: {address}\nrequests: {count}\n", hostname.trim());
    let response = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}
