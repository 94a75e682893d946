//! Asks a container once: a command in it, a request to it, a connection to it. Also runs hooks, which are made of
//! the same. Acts. Has no deadline of its own: the caller sets one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Subject, http};
use crate::runtime::{ContainerId, Error, ExecSpec, Runtime};

/// Of a failing command's output, so much goes into the message.
const OUTPUT_BYTES_MAX: usize = 1024;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: SocketAddr,
    pub path: String,
    pub host: String,
    pub headers: Vec<(String, String)>,
    pub tls: bool,
}

/// Why there is no yes, in the kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The container says no, or nothing.
    No(String),
    /// The engine did not let the question or the answer through: this tells nothing of the container.
    Unasked(String),
}

impl Failure {
    fn into_words(self) -> String {
        match self {
            Failure::No(words) | Failure::Unasked(words) => words,
        }
    }
}

/// `in_engine` holds while it is the engine that is waited for, and not the container.
pub async fn check(
    runtime: &Arc<dyn Runtime>,
    subject: &Subject,
    probe: &Probe,
    in_engine: &AtomicBool,
) -> Result<(), Failure> {
    match &probe.exec {
        Some(action) => exec(runtime, &subject.id, action.command.clone().unwrap_or_default(), in_engine).await,
        None => reach(runtime, subject, probe).await.map_err(Failure::No),
    }
}

/// Over the Pod network, where the engine has no part.
async fn reach(runtime: &Arc<dyn Runtime>, subject: &Subject, probe: &Probe) -> Result<(), String> {
    if let Some(action) = &probe.http_get {
        return get(runtime, &target(subject, action)?).await;
    }
    if let Some(action) = &probe.tcp_socket {
        let address = address(subject, action.host.as_deref(), &action.port)?;
        return connect(runtime, address).await;
    }
    if let Some(action) = &probe.grpc {
        let address = address(subject, None, &IntOrString::Int(action.port))?;
        let stream = runtime.dial(address).await.map_err(|error| refused(address, &error))?;
        return http::grpc_health(stream, action.service.as_deref().unwrap_or_default()).await;
    }
    Ok(())
}

/// Runs a lifecycle hook.
pub async fn hook(runtime: &Arc<dyn Runtime>, subject: &Subject, hook: &LifecycleHandler) -> Result<(), String> {
    if let Some(action) = &hook.exec {
        let command = action.command.clone().unwrap_or_default();
        return exec(runtime, &subject.id, command, &AtomicBool::default()).await.map_err(Failure::into_words);
    }
    if let Some(action) = &hook.http_get {
        return get(runtime, &target(subject, action)?).await;
    }
    if let Some(action) = &hook.tcp_socket {
        let address = address(subject, action.host.as_deref(), &action.port)?;
        return connect(runtime, address).await;
    }
    if let Some(action) = &hook.sleep {
        tokio::time::sleep(std::time::Duration::from_secs(action.seconds.max(0) as u64)).await;
    }
    Ok(())
}

async fn exec(
    runtime: &Arc<dyn Runtime>,
    id: &ContainerId,
    command: Vec<String>,
    in_engine: &AtomicBool,
) -> Result<(), Failure> {
    let unasked = |error: Error| Failure::Unasked(error.to_string());
    let spec = ExecSpec { command, stdin: false, stdout: true, stderr: true, tty: false };
    in_engine.store(true, Ordering::Relaxed);
    let mut process = runtime.exec(id, &spec).await.map_err(unasked)?;
    in_engine.store(false, Ordering::Relaxed);
    let mut output = Vec::new();
    while let Some(chunk) = process.output.next().await {
        let chunk = chunk.map_err(unasked)?;
        let room = OUTPUT_BYTES_MAX - output.len();
        output.extend(chunk.bytes().iter().take(room));
    }
    in_engine.store(true, Ordering::Relaxed);
    match process.control.exit_code().await.map_err(unasked)? {
        Some(0) => Ok(()),
        Some(_) if !output.is_empty() => Err(Failure::No(String::from_utf8_lossy(&output).trim_end().to_owned())),
        Some(code) => Err(Failure::No(format!("command exited with {code}"))),
        None => Err(Failure::Unasked("the command's exit code is not known".into())),
    }
}

async fn connect(runtime: &Arc<dyn Runtime>, address: SocketAddr) -> Result<(), String> {
    runtime.dial(address).await.map(|_| ()).map_err(|error| refused(address, &error))
}

fn refused(address: SocketAddr, error: &std::io::Error) -> String {
    let text = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {address}: {text}")
}

async fn get(runtime: &Arc<dyn Runtime>, target: &Target) -> Result<(), String> {
    let scheme = if target.tls { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", target.address, target.path);
    let stream = runtime
        .dial(target.address)
        .await
        .map_err(|error| format!("Get {url:?}: {}", refused(target.address, &error)))?;
    let code = http::get(stream, target).await.map_err(|error| format!("Get {url:?}: {error}"))?;
    if (200..400).contains(&code) { Ok(()) } else { Err(format!("HTTP probe failed with statuscode: {code}")) }
}

fn target(subject: &Subject, action: &HTTPGetAction) -> Result<Target, String> {
    let address = address(subject, action.host.as_deref(), &action.port)?;
    let path = action.path.as_deref().unwrap_or("/");
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut host = address.to_string();
    for header in action.http_headers.iter().flatten() {
        if header.name.eq_ignore_ascii_case("host") {
            host = header.value.clone();
        } else {
            headers.push((header.name.clone(), header.value.clone()));
        }
    }
    Ok(Target {
        address,
        path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
        host,
        headers,
        tls: action.scheme.as_deref() == Some("HTTPS"),
    })
}

fn address(subject: &Subject, host: Option<&str>, port: &IntOrString) -> Result<SocketAddr, String> {
    let ip: IpAddr = match host.filter(|host| !host.is_empty()) {
        Some(host) => host.parse().map_err(|_| format!("host {host:?} is not an IP address"))?,
        None => subject.ip.ok_or("the Pod has no address yet")?,
    };
    let number = match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(text) => text.parse().ok().or_else(|| {
            let mut ports = subject.definition.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_deref() == Some(text))?;
            u16::try_from(named.container_port).ok()
        }),
    };
    let number = number.filter(|number| *number > 0).ok_or_else(|| format!("port {port:?} is not known"))?;
    Ok(SocketAddr::new(ip, number))
}
