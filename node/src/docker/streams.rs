//! Logs, exec and attach on the engine's hijacked connections. Acts.

use std::time::Duration;

use async_trait::async_trait;
use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, LogsOptionsBuilder, ResizeContainerTTYOptionsBuilder, ResizeExecOptionsBuilder,
};
use futures::Stream;
use futures::stream::{BoxStream, StreamExt as _};

use super::{READ_MAX, WORK_MAX, failure, within};
use crate::runtime::{AttachSpec, Chunk, ContainerId, Error, ExecSpec, LogsSpec, Process, Resize};

/// Read at once from a command's output: `kubectl cp` moves files through this.
const OUTPUT_BUFFER_BYTES: usize = 32 << 10;
/// A command's end shows in its record a moment after its output's end.
const EXIT_CODE_POLLS: u32 = 50;
const EXIT_CODE_POLL_INTERVAL: Duration = Duration::from_millis(20);

pub async fn exec(engine: &bollard::Docker, id: &ContainerId, spec: &ExecSpec) -> Result<Process, Error> {
    let config = ExecConfig {
        attach_stdin: Some(spec.stdin),
        attach_stdout: Some(spec.stdout),
        attach_stderr: Some(spec.stderr),
        tty: Some(spec.tty),
        cmd: Some(spec.command.clone()),
        ..Default::default()
    };
    let made = within("prepare a command", READ_MAX, engine.create_exec(&id.0, config)).await?;
    let options = StartExecOptions { detach: false, tty: spec.tty, output_capacity: Some(OUTPUT_BUFFER_BYTES) };
    let started = within("start a command", WORK_MAX, engine.start_exec(&made.id, Some(options))).await?;
    let StartExecResults::Attached { output, input } = started else {
        return Err(Error::Refused("the engine started the command detached".into()));
    };
    let control = ExecControl { engine: engine.clone(), exec: made.id };
    Ok(Process { input, output: chunks(output), control: Box::new(control) })
}

pub async fn attach(engine: &bollard::Docker, id: &ContainerId, spec: &AttachSpec) -> Result<Process, Error> {
    let options = AttachContainerOptionsBuilder::default()
        .stream(true)
        .stdin(spec.stdin)
        .stdout(spec.stdout)
        .stderr(spec.stderr)
        .build();
    let joined = within("attach to a container", READ_MAX, engine.attach_container(&id.0, Some(options))).await?;
    let control = AttachControl { engine: engine.clone(), id: id.clone() };
    Ok(Process { input: joined.input, output: chunks(joined.output), control: Box::new(control) })
}

pub fn logs(engine: &bollard::Docker, id: &ContainerId, spec: &LogsSpec) -> BoxStream<'static, Result<Chunk, Error>> {
    let tail = spec.tail_lines.map_or("all".to_owned(), |lines| lines.to_string());
    let options = LogsOptionsBuilder::default()
        .follow(spec.follow)
        .stdout(true)
        .stderr(true)
        .timestamps(spec.timestamps)
        .since(spec.since_s.unwrap_or(0).clamp(0, i32::MAX as i64) as i32)
        .tail(&tail)
        .build();
    chunks(engine.logs(&id.0, Some(options)))
}

fn chunks(
    output: impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send + 'static,
) -> BoxStream<'static, Result<Chunk, Error>> {
    let chunk = |result| match result {
        Ok(LogOutput::StdErr { message }) => Ok(Chunk::Stderr(message)),
        Ok(other) => Ok(Chunk::Stdout(other.into_bytes())),
        Err(error) => Err(failure(error)),
    };
    output.map(chunk).boxed()
}

struct ExecControl {
    engine: bollard::Docker,
    exec: String,
}

#[async_trait]
impl Resize for ExecControl {
    async fn resize(&self, width: u16, height: u16) -> Result<(), Error> {
        let options = ResizeExecOptionsBuilder::default().w(width as i32).h(height as i32).build();
        within("resize a terminal", READ_MAX, self.engine.resize_exec(&self.exec, options)).await
    }

    async fn exit_code(&self) -> Result<Option<i32>, Error> {
        for _ in 0..EXIT_CODE_POLLS {
            let found = within("inspect a command", READ_MAX, self.engine.inspect_exec(&self.exec)).await?;
            if found.running == Some(false)
                && let Some(code) = found.exit_code
            {
                return Ok(Some(code as i32));
            }
            tokio::time::sleep(EXIT_CODE_POLL_INTERVAL).await;
        }
        Ok(None)
    }
}

struct AttachControl {
    engine: bollard::Docker,
    id: ContainerId,
}

#[async_trait]
impl Resize for AttachControl {
    async fn resize(&self, width: u16, height: u16) -> Result<(), Error> {
        let options = ResizeContainerTTYOptionsBuilder::default().w(width as i32).h(height as i32).build();
        within("resize a terminal", READ_MAX, self.engine.resize_container_tty(&self.id.0, options)).await
    }

    async fn exit_code(&self) -> Result<Option<i32>, Error> {
        super::inspect::exit_code(&self.engine, &self.id).await
    }
}
