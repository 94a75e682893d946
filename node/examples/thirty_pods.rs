//! Measures how long Pods take to run on the engine of this host: `thirty_pods [pods] [agents] [steps at a time] [pause
//! image]`. Acts: makes containers, and removes them again.

use std::sync::Arc;
use std::time::Duration;

use kontiki_node::agent::{Agent, Directory, Setting};
use kontiki_node::config::{CapacityRule, Pace};
use kontiki_node::docker::Docker;
use kontiki_node::pod::Host;
use kontiki_node::register;
use kontiki_node::report::{self, Rehearsal, Reporter};
use kontiki_node::runtime::{NetworkSpec, Owner, Runtime};
use kontiki_node::sync::Policy;
use proto::seam::Env;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() {
    let argument = |index: usize, default: usize| {
        std::env::args().nth(index).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (pods, agents, steps_max) = (argument(1, 30), argument(2, 3), argument(3, 2));
    let pause_image = std::env::args().nth(4).unwrap_or("kontiki:dev".into());
    let docker = Arc::new(Docker::from_host(std::env::var("DOCKER_HOST").ok().as_deref()));
    let network = NetworkSpec { name: "kontiki".into(), subnet: "10.244.0.0/16".into() };
    docker.ensure_network(&network).await.expect("the engine answers");
    let info = docker.info().await.expect("the engine answers");
    let shutdown = CancellationToken::new();
    let dir = std::env::temp_dir().join(format!("kontiki-measure-{}", std::process::id()));
    let clusters: Vec<Rehearsal> = (0..agents).map(|_| Rehearsal::default()).collect();
    for (number, cluster) in clusters.iter().enumerate() {
        let node = format!("n{number}");
        let rule = CapacityRule { share: agents as u32, cpu_milli: None, memory_bytes: None, pods: 110 };
        let (api, reporter) = (Arc::new(cluster.clone()), Reporter::default());
        let agent = Agent::new(Setting {
            env: Env::real(),
            runtime: docker.clone(),
            host: Host {
                owner: Owner { cluster: "measure".into(), node: node.clone() },
                node_name: node.clone(),
                ip: "127.0.0.1".parse().expect("an address"),
                data_dir: dir.join(&node),
                pause_image: pause_image.clone(),
                pod_network: network.name.clone(),
                dns_servers: Vec::new(),
                cluster_domain: "cluster.local".into(),
                capacity: register::capacity(&info, &rule, &register::facts(&dir)),
            },
            network: network.clone(),
            api: api.clone(),
            reporter: reporter.clone(),
            directory: Arc::<Directory>::default(),
            back_off: Policy::default(),
            pace: Pace::default(),
            steps_max,
        });
        tokio::spawn(agent.run(cluster.work(), shutdown.clone()));
        tokio::spawn(report::run(reporter, api, shutdown.clone()));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let name = |number: usize| format!("pod-{number}");
    let of = |number: usize| &clusters[number % agents];
    let begun = Instant::now();
    for number in 0..pods {
        let container = json!({"name": "app", "image": "busybox:1.30", "command": ["sleep", "600"]});
        of(number).assign(&name(number), json!({"terminationGracePeriodSeconds": 0, "containers": [container]}));
    }
    wait(
        (0..pods).map(|number| move |clusters: &[Rehearsal]| clusters[number % agents].is_ready(&name(number))),
        &clusters,
    )
    .await;
    println!("{pods} Pods on {agents} agents, {steps_max} steps at a time: all ready in {:.2?}", begun.elapsed());
    let clock = Env::real().clock;
    let begun = Instant::now();
    for number in 0..pods {
        of(number).delete(
            &name(number),
            jiff::Timestamp::from_millisecond(clock.now_ms() as i64).unwrap_or_default(),
            0,
        );
    }
    wait(
        (0..pods).map(|number| move |clusters: &[Rehearsal]| clusters[number % agents].pod(&name(number)).is_none()),
        &clusters,
    )
    .await;
    println!("all gone in {:.2?}", begun.elapsed());
    shutdown.cancel();
    let _ = std::fs::remove_dir_all(dir);
}

async fn wait<F: Fn(&[Rehearsal]) -> bool>(conditions: impl Iterator<Item = F>, clusters: &[Rehearsal]) {
    let end = Instant::now() + Duration::from_secs(120);
    for met in conditions {
        while !met(clusters) {
            assert!(Instant::now() < end, "not within two minutes");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
