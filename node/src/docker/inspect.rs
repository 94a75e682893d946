//! What the engine knows of containers, in our words. Acts (reads only).

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptionsBuilder;
use jiff::Timestamp;

use super::{READ_MAX, within};
use crate::runtime::{Container, ContainerId, Error, Exit, Labels, Listed, Owner, StartError, State, label};

/// The labels that tell an owner's containers from all others.
pub fn owner_filter(owner: &Owner) -> Vec<String> {
    vec![format!("{}={}", label::CLUSTER, owner.cluster), format!("{}={}", label::NODE, owner.node)]
}

pub async fn list(engine: &bollard::Docker, owner: &Owner) -> Result<Vec<Listed>, Error> {
    let filters = HashMap::from([("label".to_owned(), owner_filter(owner))]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found = within("list containers", READ_MAX, engine.list_containers(Some(options))).await?;
    let listed = found.into_iter().filter_map(|summary| {
        let running =
            matches!(summary.state, Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED));
        Some(Listed { id: ContainerId(summary.id?), running })
    });
    Ok(listed.collect())
}

pub async fn inspect(engine: &bollard::Docker, id: &ContainerId) -> Result<Option<Container>, Error> {
    match within("inspect a container", READ_MAX, engine.inspect_container(&id.0, None)).await {
        Ok(found) => Ok(read(found)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `None` when it does not carry our labels.
fn read(found: ContainerInspectResponse) -> Option<Container> {
    let config = found.config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let labels = Labels::from_map(|key| labels.get(key).map(String::as_str))?;
    let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let ip = networks.values().find_map(|endpoint| endpoint.ip_address.as_deref()?.parse::<IpAddr>().ok());
    let created = found.created.as_ref().and_then(|at| time(at));
    Some(Container {
        id: ContainerId(found.id?),
        labels,
        state: state(found.state.unwrap_or_default(), created.unwrap_or_default()),
        image_id: found.image.unwrap_or_default(),
        ip,
        tty: config.tty.unwrap_or(false),
    })
}

fn state(state: ContainerState, created: Timestamp) -> State {
    use ContainerStateStatusEnum as Status;
    let started_at = state.started_at.as_deref().and_then(time).unwrap_or(created);
    let exit_code = state.exit_code.unwrap_or(0) as i32;
    match state.status {
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING) => State::Running { started_at },
        Some(Status::EXITED | Status::DEAD | Status::REMOVING | Status::STOPPING) => State::Exited(Exit {
            started_at,
            finished_at: state.finished_at.as_deref().and_then(time).unwrap_or(started_at),
            exit_code,
            oom_killed: state.oom_killed.unwrap_or(false),
            message: None,
        }),
        Some(Status::CREATED | Status::EMPTY) | None => {
            let message = state.error.unwrap_or_default();
            let error = if message.is_empty() { None } else { Some(StartError { exit_code, message }) };
            State::Created { at: created, error }
        }
    }
}

/// The engine writes year 1 for "never".
fn time(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().filter(|at| at.as_second() > 0)
}
