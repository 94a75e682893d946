//! Logs and exec over gRPC. Acts.

use api::kinds;
use api::status::Status;
use proto::api as wire;
use proto::api::exec_input::Input;
use proto::api::exec_output::Output as Wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Door, START_DEADLINE, STREAM_QUEUE, Stream, convert};
use crate::auth::Identity;
use crate::objects::request::Target;
use crate::sessions::{Ended, Output, Tunnel, TunnelSender};
use crate::streams::{ExecOptions, LogOptions};

pub async fn logs(door: &Door, user: Identity, request: wire::LogsRequest) -> Result<Stream<wire::Chunk>, Status> {
    authorize(door, &user, "get", &request.namespace, &request.pod, "log")?;
    let options = LogOptions::from(&request);
    let tunnel = door.streams.open_logs(&request.namespace, &request.pod, &options).await?;
    let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
    if let Some(tunnel) = tunnel {
        tokio::spawn(pass_log(tunnel, sender));
    }
    Ok(ReceiverStream::new(receiver))
}

async fn pass_log(tunnel: Tunnel, sender: mpsc::Sender<Result<wire::Chunk, tonic::Status>>) {
    // The sending half is kept until the end: without it the agent would see the caller as gone.
    let (_stdin, mut output) = tunnel.split();
    loop {
        let next = tokio::select! {
            next = output.next() => next,
            () = sender.closed() => return,
        };
        let chunk = match next {
            Some(Output::Stdout(data) | Output::Stderr(data)) => Ok(wire::Chunk { data }),
            Some(Output::End(Ended::Failed(why))) => Err(convert::failure(Status::internal(why))),
            Some(Output::End(Ended::Exited(_))) | None => return,
        };
        if sender.send(chunk).await.is_err() {
            return;
        }
    }
}

pub async fn exec(
    door: &Door,
    user: Identity,
    mut inputs: Streaming<wire::ExecInput>,
) -> Result<Stream<wire::ExecOutput>, tonic::Status> {
    let first = tokio::time::timeout(START_DEADLINE, inputs.message())
        .await
        .map_err(|_| tonic::Status::deadline_exceeded("the stream did not say what to run"))??;
    let Some(Input::Start(start)) = first.and_then(|first| first.input) else {
        return Err(convert::failure(Status::bad_request("the first input must say what to run")));
    };
    let part = if start.attach { "attach" } else { "exec" };
    authorize(door, &user, "create", &start.namespace, &start.pod, part).map_err(convert::failure)?;
    let options = ExecOptions::from(&start);
    let tunnel = door.streams.open_exec(&start.namespace, &start.pod, &options).await.map_err(convert::failure)?;
    let (stdin, output) = tunnel.split();
    let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
    tokio::spawn(async move {
        let passing = tokio::spawn(pass_input(inputs, stdin));
        pass_output(output, &sender).await;
        passing.abort();
    });
    Ok(ReceiverStream::new(receiver))
}

async fn pass_input(mut inputs: Streaming<wire::ExecInput>, stdin: TunnelSender) {
    // A stream that ends, or breaks, ends the process's input with it.
    while let Ok(Some(message)) = inputs.message().await {
        let passed = match message.input {
            Some(Input::Stdin(data)) => stdin.stdin(data).await,
            Some(Input::Resize(size)) => stdin.resize(size.width, size.height).await,
            Some(Input::StdinEnd(true)) => stdin.stdin_end().await,
            _ => Ok(()),
        };
        if passed.is_err() {
            return;
        }
    }
    let _ = stdin.stdin_end().await;
    // Kept until the output has ended: the near half closing would end the tunnel.
    std::future::pending::<()>().await;
}

async fn pass_output(
    mut output: crate::sessions::TunnelReceiver,
    sender: &mpsc::Sender<Result<wire::ExecOutput, tonic::Status>>,
) {
    loop {
        let next = tokio::select! {
            next = output.next() => next,
            () = sender.closed() => return,
        };
        let Some(next) = next else { return };
        let output = match next {
            Output::Stdout(data) => Wire::Stdout(data),
            Output::Stderr(data) => Wire::Stderr(data),
            Output::End(Ended::Exited(code)) => Wire::Exit(wire::ExecExit { code, error: String::new() }),
            Output::End(Ended::Failed(error)) => Wire::Exit(wire::ExecExit { code: 1, error }),
        };
        if sender.send(Ok(wire::ExecOutput { output: Some(output) })).await.is_err() {
            return;
        }
    }
}

fn authorize(door: &Door, user: &Identity, verb: &str, namespace: &str, pod: &str, part: &str) -> Result<(), Status> {
    let kind = kinds::find("", "v1", "pods").expect("the table has Pods");
    let target = Target { subresource: part.into(), ..Target::object(kind, namespace, pod) };
    door.objects.may(verb, &target, user)
}
