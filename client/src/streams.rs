//! Processes in containers, through whichever replica answers. Acts.

use proto::api as wire;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::dispatch::{Repeat, ended, judge};
use crate::{Client, Error};

/// Input waiting to be sent; past it the sender waits.
const INPUT_QUEUE: usize = 16;

#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    pub namespace: String,
    pub pod: String,
    /// "" when the Pod has one container.
    pub container: String,
    /// Empty joins the container's main process.
    pub command: Vec<String>,
    pub stdin: bool,
    pub tty: bool,
}

/// A process in a container. Dropping it lets go of the streams; the process may go on.
pub struct Process {
    input: mpsc::Sender<wire::ExecInput>,
    output: tonic::Streaming<wire::ExecOutput>,
}

/// The sending half of a [`Process`].
#[derive(Clone)]
pub struct ProcessInput(mpsc::Sender<wire::ExecInput>);

#[derive(Debug, PartialEq, Eq)]
pub enum ProcessOutput {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The last one. `error` is set when the command could not be run or the stream broke.
    Exit {
        code: i32,
        error: Option<String>,
    },
}

impl Client {
    /// Starts a command in a container (or joins its main process).
    pub async fn exec(&self, request: ExecRequest) -> Result<Process, Error> {
        let attach = request.command.is_empty();
        let start = wire::ExecStart {
            namespace: request.namespace,
            pod: request.pod,
            container: request.container,
            command: request.command,
            stdin: request.stdin,
            tty: request.tty,
            attach,
        };
        // A command that may have been started is not started again; a replica that cannot be reached is passed by.
        let mut failures = 0;
        loop {
            let (input, receiver) = mpsc::channel(INPUT_QUEUE);
            let first = wire::ExecInput { input: Some(wire::exec_input::Input::Start(start.clone())) };
            input.try_send(first).expect("the queue is new and has room");
            let (index, replica) = self.present();
            let mut api = replica.api.clone();
            let limit = Instant::now() + self.config().timeout;
            match self.attempt(&replica, Repeat::Never, limit, api.exec(ReceiverStream::new(receiver))).await {
                Ok(output) => return Ok(Process { input, output }),
                Err(failure) => {
                    let message = failure.message().to_owned();
                    judge(failure, Repeat::Never)?;
                    self.leave(index).await;
                    failures += 1;
                    if failures > self.config().addresses.len() {
                        return Err(Error::Unreachable(message));
                    }
                }
            }
        }
    }
}

impl Process {
    pub fn input(&self) -> ProcessInput {
        ProcessInput(self.input.clone())
    }

    /// The next piece of output, in order; `None` after the exit. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<ProcessOutput>, Error> {
        use wire::exec_output::Output;
        loop {
            let Some(message) = self.output.message().await.map_err(ended)? else {
                return Ok(None);
            };
            let Some(output) = message.output else { continue };
            return Ok(Some(match output {
                Output::Stdout(data) => ProcessOutput::Stdout(data.into()),
                Output::Stderr(data) => ProcessOutput::Stderr(data.into()),
                Output::Exit(exit) => {
                    ProcessOutput::Exit { code: exit.code, error: Some(exit.error).filter(|text| !text.is_empty()) }
                }
            }));
        }
    }
}

impl ProcessInput {
    /// False when the process no longer takes input.
    pub async fn write(&self, data: Vec<u8>) -> bool {
        self.send(wire::exec_input::Input::Stdin(data.into())).await
    }

    pub async fn end(&self) -> bool {
        self.send(wire::exec_input::Input::StdinEnd(true)).await
    }

    pub async fn resize(&self, width: u16, height: u16) -> bool {
        let size = wire::Resize { width: width.into(), height: height.into() };
        self.send(wire::exec_input::Input::Resize(size)).await
    }

    async fn send(&self, input: wire::exec_input::Input) -> bool {
        self.0.send(wire::ExecInput { input: Some(input) }).await.is_ok()
    }
}
