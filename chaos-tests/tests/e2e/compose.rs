//! The compose cluster: the leader's container is stopped, paused, and cut off its network; writes go on and no
//! workload's container is touched.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Cluster, Logs, eventually, package};

fn script() -> PathBuf {
    package().join("../deploy/compose.sh")
}

/// Fields are dropped in this order: a failure is explained while the containers still have their logs.
struct Compose {
    /// Its kubeconfig stands in its directory, as in any other.
    cluster: Cluster,
    _down: Down,
}

impl Compose {
    fn up() -> Compose {
        let outer = Cluster::under_test();
        let (dir, binary) = (outer.dir().join("compose"), outer.dir().join("bin/kontiki"));
        let _down = Down { dir: dir.clone() };
        let compose =
            Compose { cluster: Cluster::at(dir.clone(), binary.clone(), Logs::Containers("kontiki_")), _down };
        let variables =
            [format!("KONTIKI_COMPOSE_DIR={}", dir.display()), format!("KONTIKI_BINARY={}", binary.display())];
        let script = script();
        compose.cluster.run("env", &[&variables[0], &variables[1], script.to_str().unwrap(), "up"], "").expect();
        compose
    }

    /// The leader's number and the name of its container.
    fn leader(&self) -> (u64, String) {
        let leader = self.cluster.leader();
        (leader, format!("kontiki_replica-{leader}_1"))
    }

    fn docker(&self, args: &[&str]) {
        self.cluster.docker(args).expect();
    }
}

/// Takes the cluster of a directory down when dropped.
struct Down {
    dir: PathBuf,
}

impl Drop for Down {
    fn drop(&mut self) {
        let mut down = Command::new("timeout");
        let down = down.arg("300").arg(script()).arg("down").env("KONTIKI_COMPOSE_DIR", &self.dir).output();
        if !down.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("compose.sh down: {down:?}");
        }
    }
}

#[test]
fn the_leaders_container_is_stopped_paused_and_cut_off() {
    let compose = Compose::up();
    let cluster = &compose.cluster;
    cluster.settled();
    let nginx = include_str!("../../../deploy/examples/nginx.yaml");
    cluster.kubectl_with_input(&["apply", "-f", "-"], nginx).expect();
    cluster.kubectl(&["rollout", "status", "deployment/nginx", "--timeout=60s"]).expect();
    let containers = cluster.containers("pod.namespace=default");
    assert_eq!(containers.len(), 6, "three Pods of two containers each");

    for (harm, cure) in [
        (vec!["stop", "-t", "5"], vec!["start"]),
        (vec!["pause"], vec!["unpause"]),
        (vec!["network", "disconnect", "kontiki_control"], vec!["network", "connect"]),
    ] {
        let (leader, container) = compose.leader();
        let address = format!("172.30.77.1{leader}");
        compose.docker(&[&harm[..], &[&container]].concat());
        let count = harm.join("-");
        eventually("a write is acknowledged", Duration::from_secs(10), || {
            let annotation = format!("harm={count}");
            cluster.kubectl(&["--request-timeout=3s", "annotate", "--overwrite", "deployment/nginx", &annotation]).ok
        });
        assert_ne!(cluster.leader(), leader, "{harm:?}");
        match cure[0] {
            "network" => {
                // Longer than any connection outlives its silence, so that all of them have to be made anew.
                std::thread::sleep(Duration::from_secs(6));
                // What compose gave it: its address, and the name that the others dial.
                let name = format!("replica-{leader}");
                let back = ["network", "connect", "--ip", &address, "--alias", &name, "kontiki_control", &container];
                compose.docker(&back);
            }
            _ => compose.docker(&[&cure[..], &[&container]].concat()),
        }
        cluster.settled();
        assert_eq!(cluster.containers("pod.namespace=default"), containers, "{harm:?} touched a workload");
    }
}
