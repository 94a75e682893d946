//! Stands in for containers: what is executed runs as a plain process of this host. Acts.

use std::process::Stdio;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use node::session::{Output, Refusal, Request, TunnelIo, Tunnels};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub struct Processes;

#[async_trait]
impl Tunnels for Processes {
    async fn check(&self, request: &Request) -> Result<(), Refusal> {
        match request {
            Request::Exec(exec) if exec.container == "dead" => {
                Err(Refusal::new(500, "unable to upgrade connection: container not found (\"dead\")"))
            }
            _ => Ok(()),
        }
    }

    async fn serve(&self, request: Request, io: TunnelIo) {
        match request {
            Request::Exec(exec) => {
                let command = if exec.attach { vec!["cat".to_owned()] } else { exec.command };
                run(&command, io).await;
            }
            Request::Logs(logs) => {
                let lines: String = (1..=logs.tail_lines.unwrap_or(3)).map(|line| format!("line {line}\n")).collect();
                let _ = io.output.stdout(lines.into()).await;
                if logs.follow {
                    io.gone.cancelled().await;
                }
                let _ = io.output.end(0).await;
            }
            Request::PortForward(forward) => port(forward.port, io).await,
        }
    }
}

async fn run(command: &[String], mut io: TunnelIo) {
    let spawned = tokio::process::Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            let _ = io.output.fail(error.to_string()).await;
            return;
        }
    };
    let mut stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (out, err) = (io.output.clone(), io.output.clone());
    let input = async {
        while let Some(bytes) = io.stdin.recv().await {
            if let Some(pipe) = &mut stdin
                && pipe.write_all(&bytes).await.is_err()
            {
                stdin = None;
            }
        }
        stdin = None;
        std::future::pending::<()>().await
    };
    let outputs = async {
        tokio::join!(copy(stdout, &out, false), copy(stderr, &err, true));
        child.wait().await
    };
    let status = tokio::select! {
        status = outputs => status,
        () = input => unreachable!("the input never ends"),
        () = io.gone.cancelled() => return,
    };
    let _ = io.output.end(status.unwrap().code().unwrap_or(137)).await;
}

async fn copy(mut from: impl AsyncRead + Unpin, to: &Output, is_stderr: bool) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(32 << 10);
        if from.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
            return;
        }
        let bytes: Bytes = buffer.split().freeze();
        let sent = if is_stderr { to.stderr(bytes).await } else { to.stdout(bytes).await };
        if sent.is_err() {
            return;
        }
    }
}

async fn port(port: u32, mut io: TunnelIo) {
    let mut stream = match TcpStream::connect(("127.0.0.1", port as u16)).await {
        Ok(stream) => stream,
        Err(error) => {
            let _ = io.output.fail(error.to_string()).await;
            return;
        }
    };
    let (read, mut write) = stream.split();
    let input = async {
        while let Some(bytes) = io.stdin.recv().await {
            if write.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = write.shutdown().await;
    };
    tokio::join!(copy(read, &io.output, false), input);
    let _ = io.output.end(0).await;
}
