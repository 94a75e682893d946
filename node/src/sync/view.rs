//! A Pod's containers on the engine, put in order. Pure.

use std::net::IpAddr;

use jiff::Timestamp;

use super::Input;
use crate::pod::{Host, on_host_network};
use crate::runtime::{Container, ContainerId, Exit, Role, State};

pub struct View<'a> {
    all: &'a [Container],
    /// See [`sandbox`].
    pub sandbox: Option<&'a Container>,
    pub pod_ip: Option<IpAddr>,
}

/// What became of a container's latest attempt.
#[derive(Clone, Debug)]
pub enum Latest<'a> {
    None,
    /// Made and never started: a leftover of an agent that was interrupted.
    Stray(&'a Container),
    Running(&'a Container, Timestamp),
    Ended(&'a Container, Exit),
}

impl<'a> View<'a> {
    pub fn new(input: &Input<'a>) -> View<'a> {
        let all = input.containers;
        let sandbox = sandbox(all);
        let pod_ip = sandbox.and_then(|sandbox| sandbox_ip(sandbox, on_host_network(input.pod), input.host));
        View { all, sandbox, pod_ip }
    }

    pub fn all(&self) -> &'a [Container] {
        self.all
    }

    pub fn knows(&self, id: &ContainerId) -> bool {
        self.all.iter().any(|container| container.id == *id)
    }

    pub fn is_running(&self, id: &ContainerId) -> bool {
        self.all.iter().any(|container| container.id == *id && is_running(container))
    }

    /// Running containers of the Pod, its pause containers aside.
    pub fn running(&self) -> impl Iterator<Item = &'a Container> {
        self.all.iter().filter(|container| container.labels.role != Role::Pause && is_running(container))
    }

    pub fn attempts(&self, name: &str) -> impl Iterator<Item = &'a Container> {
        self.all
            .iter()
            .filter(move |container| container.labels.role != Role::Pause && container.labels.container == name)
    }

    pub fn latest(&self, name: &str) -> Latest<'a> {
        match self.attempts(name).max_by_key(|container| container.labels.attempt) {
            None => Latest::None,
            Some(container) => latest_of(container),
        }
    }

    /// The attempt before the latest.
    pub fn previous(&self, name: &str) -> Option<(&'a Container, Exit)> {
        let highest = self.attempts(name).map(|container| container.labels.attempt).max()?;
        let before = self.attempts(name).filter(|container| container.labels.attempt < highest);
        let container = before.max_by_key(|container| container.labels.attempt)?;
        match latest_of(container) {
            Latest::Ended(container, exit) => Some((container, exit)),
            _ => None,
        }
    }

    pub fn is_current(&self, container: &Container) -> bool {
        self.sandbox.is_some_and(|sandbox| container.labels.sandbox == sandbox.id.0)
    }

    pub fn next_sandbox_attempt(&self) -> u32 {
        let attempts = self.all.iter().filter(|container| container.labels.role == Role::Pause);
        attempts.map(|container| container.labels.attempt + 1).max().unwrap_or(0)
    }
}

/// The running pause container of the highest attempt.
pub fn sandbox(containers: &[Container]) -> Option<&Container> {
    let pause = containers.iter().filter(|container| container.labels.role == Role::Pause && is_running(container));
    pause.max_by_key(|container| container.labels.attempt)
}

pub fn is_running(container: &Container) -> bool {
    matches!(container.state, State::Running { .. })
}

fn sandbox_ip(sandbox: &Container, on_host: bool, host: &Host) -> Option<IpAddr> {
    if on_host { Some(host.ip) } else { sandbox.ip }
}

fn latest_of(container: &Container) -> Latest<'_> {
    match &container.state {
        State::Running { started_at } => Latest::Running(container, *started_at),
        State::Exited(exit) => Latest::Ended(container, exit.clone()),
        State::Created { error: None, .. } => Latest::Stray(container),
        State::Created { at, error: Some(error) } => {
            let exit = Exit {
                started_at: *at,
                finished_at: *at,
                exit_code: error.exit_code,
                oom_killed: false,
                message: Some(error.message.clone()),
            };
            Latest::Ended(container, exit)
        }
    }
}

/// It was made, and could not be started at all.
pub fn could_not_run(container: &Container) -> bool {
    matches!(container.state, State::Created { error: Some(_), .. })
}
