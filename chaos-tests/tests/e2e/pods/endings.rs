//! How containers end, and what the Pod then says: phases, reasons, exit codes, restarts.

use serde_json::json;

use super::{Pods, SOON, status_column, wait_for};
use crate::harness::{Cluster, Namespace, eventually_ok};

const TERMINATED: &str = "/status/containerStatuses/0/state/terminated";
const WAITING: &str = "/status/containerStatuses/0/state/waiting/reason";

#[test]
fn every_way_to_end_has_its_reason() {
    let cluster = Cluster::under_test();
    let namespace = cluster.namespace("pods-endings");
    namespace.apply(include_str!("endings.yaml"));
    let code = &format!("{TERMINATED}/exitCode");
    let reason = &format!("{TERMINATED}/reason");
    let message = &format!("{TERMINATED}/message");
    let restarts = "/status/containerStatuses/0/restartCount";
    let phase = "/status/phase";
    let pods = wait_for(
        &namespace,
        &[
            ("on-failure", phase, json!("Succeeded")),
            ("on-failure", restarts, json!(1)),
            ("on-failure", reason, json!("Completed")),
            ("never-ok", phase, json!("Succeeded")),
            ("never-ok", code, json!(0)),
            ("never-ok", reason, json!("Completed")),
            ("never-bad", phase, json!("Failed")),
            ("never-bad", code, json!(4)),
            ("never-bad", reason, json!("Error")),
            ("never-bad", message, json!("no disk")),
            ("killed", phase, json!("Failed")),
            ("killed", code, json!(137)),
            ("killed", reason, json!("Error")),
            ("too-hungry", phase, json!("Failed")),
            ("too-hungry", code, json!(137)),
            ("too-hungry", reason, json!("OOMKilled")),
            ("no-image", phase, json!("Pending")),
            ("no-image", WAITING, json!("ImagePullBackOff")),
            ("never-pulled", WAITING, json!("ErrImageNeverPull")),
            ("bad-image-name", WAITING, json!("InvalidImageName")),
            ("no-program", phase, json!("Failed")),
            ("no-program", reason, json!("ContainerCannotRun")),
            ("no-settings", WAITING, json!("CreateContainerConfigError")),
            ("init-order", phase, json!("Succeeded")),
            ("init-loops", phase, json!("Pending")),
            ("init-loops", "/status/initContainerStatuses/0/state/waiting/reason", json!("CrashLoopBackOff")),
            ("init-loops", WAITING, json!("PodInitializing")),
            ("init-fails", phase, json!("Failed")),
            ("init-fails", "/status/initContainerStatuses/0/state/terminated/exitCode", json!(6)),
            ("half", phase, json!("Running")),
        ],
    );
    assert!(pods.container("no-program", "/state/terminated/message").to_string().contains("/no/such/program"));
    for never in ["never-ok", "never-bad", "killed", "too-hungry", "no-image", "no-settings"] {
        assert_eq!(pods.restarts(never), 0, "{never}");
    }
    assert_eq!(namespace.kubectl(&["logs", "init-order"]).expect(), "first\nsecond\n");
    says_it_in_the_table(&namespace);
    says_it_in_events(&namespace);
    loops_with_growing_pauses(&namespace);
    missing_settings_arrive(&namespace);
}

/// What a person sees.
fn says_it_in_the_table(namespace: &Namespace) {
    let table = status_column(namespace);
    for (pod, words) in [
        ("never-ok", "Completed"),
        ("never-bad", "Error"),
        ("too-hungry", "OOMKilled"),
        ("no-image", "ImagePullBackOff"),
        ("init-loops", "Init:CrashLoopBackOff"),
        ("init-fails", "Init:Error"),
        ("half", "NotReady"),
    ] {
        assert!(table.contains(&(pod.to_owned(), words.to_owned())), "{pod} should say {words}: {table:?}");
    }
}

fn says_it_in_events(namespace: &Namespace) {
    eventually_ok("the events say why", SOON, || {
        let events = namespace.kubectl(&["get", "events"]).expect();
        let said = |pod: &str, reason: &str, words: &str| {
            let name = format!("pod/{pod} ");
            let found =
                events.lines().any(|line| line.contains(&name) && line.contains(reason) && line.contains(words));
            if found { Ok(()) } else { Err(format!("{pod}: no event {reason} with {words:?} among\n{events}")) }
        };
        said("no-image", "Failed", "ErrImagePull")?;
        said("no-image", "Failed", "registry.invalid")?;
        said("no-image", "Pulling", "registry.invalid/nothing:1")?;
        said("no-settings", "Failed", "configmap \"later\" not found")?;
        said("no-program", "Failed", "/no/such/program")?;
        said("always-bad", "BackOff", "Back-off restarting failed container main")
    });
}

/// The first restart is at once, the second ten seconds later; the reason and the log of the run before stay readable.
fn loops_with_growing_pauses(namespace: &Namespace) {
    let pods = eventually_ok("both loop for the second time", SOON, || {
        let pods = Pods::of(namespace);
        let looping = |name: &str| {
            pods.container(name, "/state/waiting/reason") == "CrashLoopBackOff" && pods.restarts(name) >= 2
        };
        if looping("always-ok") && looping("always-bad") {
            Ok(pods)
        } else {
            Err(format!("{}\n{}", pods.container("always-ok", ""), pods.container("always-bad", "")))
        }
    });
    for (name, code, reason) in [("always-ok", 0, "Completed"), ("always-bad", 3, "Error")] {
        let last = pods.container(name, "/lastState/terminated");
        assert_eq!((&last["exitCode"], &last["reason"]), (&json!(code), &json!(reason)), "{name}");
        assert_eq!(pods.at(name, "/status/phase"), "Running", "{name}");
        let message = pods.container(name, "/state/waiting/message").to_string();
        assert!(message.contains("back-off") && message.contains("restarting failed container=main"), "{message}");
    }
    assert_eq!(namespace.kubectl(&["logs", "always-bad", "--previous"]).expect(), "going down\n");
}

fn missing_settings_arrive(namespace: &Namespace) {
    namespace.kubectl(&["create", "configmap", "later", "--from-literal=color=green"]).expect();
    namespace.kubectl(&["wait", "--for=condition=Ready", "pod/no-settings", "--timeout=40s"]).expect();
    let said = namespace.kubectl(&["exec", "no-settings", "--", "sh", "-c", "echo $COLOR"]).expect();
    assert_eq!(said, "green\n");
}
