//! What the engine knows of containers, in our words. Acts (reads only).

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptionsBuilder;
use jiff::Timestamp;

use super::ooms::Ooms;
use super::pods::LEASE;
use super::{READ_MAX, within};
use crate::network;
use crate::runtime::{Container, ContainerId, Error, Exit, Labels, Listed, Owner, StartError, State, label};

/// The exit code of a main process that was killed.
const KILLED: i32 = 137;

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
        let pod_uid = summary.labels.and_then(|mut labels| labels.remove(label::POD_UID)).unwrap_or_default();
        Some(Listed { id: ContainerId(summary.id?), pod_uid, running })
    });
    Ok(listed.collect())
}

/// The engine's own record.
pub async fn find(engine: &bollard::Docker, id: &ContainerId) -> Result<Option<ContainerInspectResponse>, Error> {
    match within("inspect a container", READ_MAX, engine.inspect_container(&id.0, None)).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

pub async fn inspect(engine: &bollard::Docker, ooms: &Arc<Ooms>, id: &ContainerId) -> Result<Option<Container>, Error> {
    let Some(mut container) = find(engine, id).await?.and_then(read) else { return Ok(None) };
    if let State::Exited(exit) = &mut container.state
        && exit.exit_code == KILLED
        && !exit.oom_killed
    {
        let (ooms, id) = (ooms.clone(), container.id.clone());
        exit.oom_killed = proto::seam::apart(move || ooms.contains(&id)).await.unwrap_or_default();
    }
    Ok(Some(container))
}

/// `None` while it runs, or when there is no such container.
pub async fn exit_code(engine: &bollard::Docker, id: &ContainerId) -> Result<Option<i32>, Error> {
    let found = find(engine, id).await?.and_then(|found| found.state);
    Ok(match found.map(|found| state(found, Timestamp::default())) {
        Some(State::Exited(exit)) => Some(exit.exit_code),
        _ => None,
    })
}

/// `None` when it does not carry our labels.
fn read(found: ContainerInspectResponse) -> Option<Container> {
    let config = found.config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let id = ContainerId(found.id?);
    let lease = labels.get(LEASE).map(Path::new);
    let labels = Labels::from_map(|key| labels.get(key).map(String::as_str))?;
    let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let by_engine = networks.values().find_map(|endpoint| endpoint.ip_address.as_deref()?.parse::<IpAddr>().ok());
    let by_agent = lease.and_then(|lease| network::wired(lease, &id.0)).map(IpAddr::V4);
    let created = found.created.as_ref().and_then(|at| time(at));
    Some(Container {
        id,
        labels,
        state: state(found.state.unwrap_or_default(), created.unwrap_or_default()),
        image_id: found.image.unwrap_or_default(),
        ip: by_agent.or(by_engine),
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
