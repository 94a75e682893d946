//! The plain calls: one request, one answer. Acts.

use std::collections::HashMap;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::models::{ContainerCreateBody, ImageInspect, Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, InspectNetworkOptions, KillContainerOptionsBuilder,
    ListImagesOptions, RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder, StartContainerOptions,
};
use futures::TryStreamExt as _;

use super::{PULL_MAX, READ_MAX, WORK_MAX, within};
use crate::network::Halves;
use crate::runtime::{ContainerId, ContainerSpec, Credentials, Error, Image, Info, NetworkSpec, Signal};

pub async fn info(engine: &bollard::Docker) -> Result<Info, Error> {
    let info = within("describe itself", READ_MAX, engine.info()).await?;
    let architecture = match info.architecture.as_deref().unwrap_or_default() {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    };
    Ok(Info {
        version: format!("docker://{}", plain_version(&info.server_version.unwrap_or_default())),
        os_image: info.operating_system.unwrap_or_default(),
        kernel: info.kernel_version.unwrap_or_default(),
        architecture,
        cpus: info.ncpu.unwrap_or(0).max(0) as u64,
        memory_bytes: info.mem_total.unwrap_or(0).max(0) as u64,
        root_dir: info.docker_root_dir.unwrap_or_default(),
    })
}

/// Without a distribution's suffix, as other clients of the field expect it: `20.10.24+dfsg1` is 20.10.24.
fn plain_version(version: &str) -> &str {
    version.split('+').next().unwrap_or(version)
}

/// How often, and how far apart, to look for a network that another agent may be making.
const NETWORK_LOOKS: u32 = 10;
const NETWORK_PAUSE: Duration = Duration::from_millis(100);

pub async fn ensure_network(engine: &bollard::Docker, network: &NetworkSpec) -> Result<(), Error> {
    let inspect = engine.inspect_network(&network.name, None::<InspectNetworkOptions>);
    match within("inspect the Pod network", READ_MAX, inspect).await {
        Ok(_) => return Ok(()),
        Err(Error::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    // Agents give out the other half themselves, where they may.
    let halves = Halves::of(&network.subnet);
    let request = NetworkCreateRequest {
        name: network.name.clone(),
        driver: Some("bridge".into()),
        ipam: Some(Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(network.subnet.clone()),
                ip_range: halves.map(|halves| halves.of_engine()),
                gateway: halves.map(|halves| halves.gateway.to_string()),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        labels: Some(HashMap::from([("io.kontiki.network".to_owned(), "pods".to_owned())])),
        ..Default::default()
    };
    match within("make the Pod network", WORK_MAX, engine.create_network(request)).await {
        Ok(_) => Ok(()),
        // Another agent of the same engine was quicker.
        Err(Error::Conflict(_)) => Ok(()),
        Err(Error::Refused(message)) if message.contains("already exists") => Ok(()),
        Err(Error::Refused(message)) if message.contains("overlaps") => {
            // Either another agent is making it, and the engine shows it in a moment, or a foreign network has this subnet.
            for _ in 0..NETWORK_LOOKS {
                let again = engine.inspect_network(&network.name, None::<InspectNetworkOptions>);
                if within("inspect the Pod network", READ_MAX, again).await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(NETWORK_PAUSE).await;
            }
            Err(Error::Refused(message))
        }
        Err(error) => Err(error),
    }
}

pub async fn create(
    engine: &bollard::Docker,
    spec: &ContainerSpec,
    body: ContainerCreateBody,
) -> Result<ContainerId, Error> {
    let options = CreateContainerOptionsBuilder::default().name(&spec.name).build();
    let call = engine.create_container(Some(options), body);
    Ok(ContainerId(within("create a container", WORK_MAX, call).await?.id))
}

pub async fn start(engine: &bollard::Docker, id: &ContainerId) -> Result<(), Error> {
    let call = engine.start_container(&id.0, None::<StartContainerOptions>);
    within("start a container", WORK_MAX, call).await
}

pub async fn signal(engine: &bollard::Docker, id: &ContainerId, signal: Signal) -> Result<(), Error> {
    let name = match signal {
        Signal::Kill => "SIGKILL".to_owned(),
        Signal::Stop => {
            let Some(found) = super::inspect::find(engine, id).await? else { return Ok(()) };
            let config = found.config;
            config.and_then(|config| config.stop_signal).filter(|name| !name.is_empty()).unwrap_or("SIGTERM".into())
        }
    };
    let options = KillContainerOptionsBuilder::default().signal(&name).build();
    match within("signal a container", WORK_MAX, engine.kill_container(&id.0, Some(options))).await {
        Ok(()) | Err(Error::NotFound(_)) => Ok(()),
        Err(Error::Conflict(message)) if message.contains("is not running") => Ok(()),
        Err(error) => Err(error),
    }
}

pub async fn remove(engine: &bollard::Docker, id: &ContainerId) -> Result<(), Error> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match within("remove a container", WORK_MAX, engine.remove_container(&id.0, Some(options))).await {
        Ok(()) | Err(Error::NotFound(_)) => Ok(()),
        // Somebody else is at it; the event of the removal tells when it is gone.
        Err(Error::Conflict(message)) if message.contains("already in progress") => Ok(()),
        Err(error) => Err(error),
    }
}

pub async fn image(engine: &bollard::Docker, name: &str) -> Result<Option<ImageInspect>, Error> {
    match within("inspect an image", READ_MAX, engine.inspect_image(name)).await {
        Ok(image) => Ok(Some(image)),
        Err(Error::NoSuchImage(_) | Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

pub async fn images(engine: &bollard::Docker) -> Result<Vec<Image>, Error> {
    let list = within("list images", READ_MAX, engine.list_images(None::<ListImagesOptions>)).await?;
    let named = list.into_iter().filter(|image| !image.repo_tags.is_empty());
    Ok(named.map(|image| Image { names: image.repo_tags, size_bytes: image.size }).collect())
}

pub async fn pull(engine: &bollard::Docker, name: &str, credentials: Option<&Credentials>) -> Result<(), Error> {
    let options = CreateImageOptionsBuilder::default().from_image(with_tag(name).as_str()).build();
    let credentials = credentials.map(|given| DockerCredentials {
        username: Some(given.username.clone()),
        password: Some(given.password.clone()),
        serveraddress: Some(given.registry.clone()),
        ..Default::default()
    });
    let progress = engine.create_image(Some(options), None, credentials);
    within("pull an image", PULL_MAX, progress.try_for_each(|_| async { Ok(()) })).await
}

/// Without a tag the engine would pull every tag of the repository.
fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || name.contains('@') { name.to_owned() } else { format!("{name}:latest") }
}

pub async fn remove_volume(engine: &bollard::Docker, name: &str) -> Result<(), Error> {
    let options = RemoveVolumeOptionsBuilder::default().force(true).build();
    match within("remove a volume", WORK_MAX, engine.remove_volume(name, Some(options))).await {
        Ok(()) | Err(Error::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tag_is_latest() {
        assert_eq!(with_tag("nginx"), "nginx:latest");
        assert_eq!(with_tag("localhost:5000/nginx"), "localhost:5000/nginx:latest");
        assert_eq!(with_tag("nginx:1.17.1"), "nginx:1.17.1");
        assert_eq!(with_tag("nginx@sha256:00"), "nginx@sha256:00");
    }

    #[test]
    fn the_distributions_suffix_is_dropped() {
        assert_eq!(plain_version("20.10.24+dfsg1"), "20.10.24");
    }
}
