//! Which container is meant, and can its logs be had? Pure; the messages are Kubernetes' own.

use api::Status;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateWaiting, ContainerStatus, Pod};

/// The name of the container: the one that was asked for, or the only one.
pub fn choose(pod: &Pod, name: &str, asked: &str) -> Result<String, Status> {
    let (mut containers, mut init, mut ephemeral) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(spec) = &pod.spec {
        containers.extend(spec.containers.iter().map(|one| one.name.as_str()));
        init.extend(spec.init_containers.iter().flatten().map(|one| one.name.as_str()));
        ephemeral.extend(spec.ephemeral_containers.iter().flatten().map(|one| one.name.as_str()));
    }
    match (asked, containers.as_slice()) {
        ("", [only]) => Ok((*only).to_owned()),
        ("", []) => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        ("", many) => {
            let mut message =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", many.join(" "));
            for (kind, list) in [("init", init), ("ephemeral", ephemeral)] {
                if !list.is_empty() {
                    message += &format!(" or one of the {kind} containers: [{}]", list.join(" "));
                }
            }
            Err(Status::bad_request(message))
        }
        (asked, _) if [&containers, &init, &ephemeral].iter().any(|list| list.contains(&asked)) => Ok(asked.to_owned()),
        (asked, _) => Err(Status::bad_request(format!("container {asked} is not valid for pod {name}"))),
    }
}

/// Is there a log of the container, going by what its node last reported?
pub fn check_log(pod: &Pod, name: &str, container: &str, previous: bool) -> Result<(), Status> {
    let refuse = |what: &str| Status::bad_request(format!("container {container:?} in pod {name:?} {what}"));
    let creating = ContainerStateWaiting { reason: Some("ContainerCreating".into()), message: None };
    let unknown = ContainerStatus {
        state: Some(ContainerState { waiting: Some(creating), ..ContainerState::default() }),
        ..ContainerStatus::default()
    };
    // The node has not reported yet: it has only just heard of the Pod.
    let status = status_of(pod, container).unwrap_or(&unknown);
    let has_run = |state: &Option<ContainerState>| {
        let terminated = state.as_ref().and_then(|state| state.terminated.as_ref());
        terminated.is_some_and(|end| end.container_id.as_ref().is_some_and(|id| !id.is_empty()))
    };
    if previous {
        let absent = format!("previous terminated container {container:?} in pod {name:?} not found");
        return if has_run(&status.last_state) { Ok(()) } else { Err(Status::bad_request(absent)) };
    }
    let state = status.state.clone().unwrap_or_default();
    if state.running.is_some() || state.terminated.is_some() || has_run(&status.last_state) {
        return Ok(());
    }
    let waiting = state.waiting.and_then(|waiting| waiting.reason).unwrap_or_default();
    Err(match waiting.as_str() {
        "ErrImagePull" => refuse("is waiting to start: image can't be pulled"),
        "ImagePullBackOff" => refuse("is waiting to start: trying and failing to pull image"),
        "" => refuse("is waiting to start - no logs yet"),
        reason => refuse(&format!("is waiting to start: {reason}")),
    })
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|one| one.name == container)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(containers: &[&str], init: &[&str], statuses: Value) -> Pod {
        let list = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        serde_json::from_value(json!({
            "spec": {"containers": list(containers), "initContainers": list(init)},
            "status": {"containerStatuses": statuses},
        }))
        .unwrap()
    }

    #[test]
    fn the_container_is_chosen_as_kubernetes_does() {
        for (containers, init, asked, expected) in [
            (&["a"][..], &[][..], "", Ok("a")),
            (&["a", "b"], &[], "b", Ok("b")),
            (&["a"], &["i"], "i", Ok("i")),
            (&["a", "b"], &[], "", Err("a container name must be specified for pod x, choose one of: [a b]")),
            (
                &["a", "b"],
                &["i"],
                "",
                Err(
                    "a container name must be specified for pod x, choose one of: [a b] or one of the init containers: [i]",
                ),
            ),
            (&["a"], &[], "z", Err("container z is not valid for pod x")),
        ] {
            let chosen = choose(&pod(containers, init, json!([])), "x", asked);
            assert_eq!(chosen.as_deref().map_err(|status| status.message.as_str()), expected);
        }
    }

    #[test]
    fn a_container_without_a_log_says_why() {
        let ended = json!({"terminated": {"exitCode": 1, "containerID": "docker://1"}});
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        for (state, last, previous, expected) in [
            (json!({"running": {}}), json!({}), false, None),
            (ended.clone(), json!({}), false, None),
            (waiting("CrashLoopBackOff"), ended.clone(), false, None),
            (waiting("CrashLoopBackOff"), ended.clone(), true, None),
            (
                waiting("ContainerCreating"),
                json!({}),
                false,
                Some(r#"container "c" in pod "p" is waiting to start: ContainerCreating"#),
            ),
            (
                waiting("ErrImagePull"),
                json!({}),
                false,
                Some(r#"container "c" in pod "p" is waiting to start: image can't be pulled"#),
            ),
            (
                waiting("ImagePullBackOff"),
                json!({}),
                false,
                Some(r#"container "c" in pod "p" is waiting to start: trying and failing to pull image"#),
            ),
            (
                json!({"running": {}}),
                json!({}),
                true,
                Some(r#"previous terminated container "c" in pod "p" not found"#),
            ),
        ] {
            let status = json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": state, "lastState": last}]);
            let told = check_log(&pod(&["c"], &[], status), "p", "c", previous);
            assert_eq!(told.as_ref().err().map(|status| status.message.as_str()), expected);
        }
        let unreported = check_log(&pod(&["c"], &[], json!([])), "p", "c", false).unwrap_err();
        assert_eq!(unreported.message, r#"container "c" in pod "p" is waiting to start: ContainerCreating"#);
    }
}
