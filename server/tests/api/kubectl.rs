//! Stock kubectl, the oldest and the newest that this machine has, against the door.

use std::path::PathBuf;

use serde_json::json;

use crate::harness::{PODS, Replica, patch, pod, post};

/// The kubectl on the PATH, and where others stand beside it as `kubectl.<version>`, the oldest and the newest of
/// them. At least one: the test fails where there is none.
fn programs() -> Vec<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let plain = std::env::split_paths(&paths).map(|directory| directory.join("kubectl")).find(|path| path.exists());
    let plain = plain.expect("these tests need kubectl on the PATH");
    let home = plain.canonicalize().unwrap().parent().unwrap().to_path_buf();
    let mut versions: Vec<PathBuf> = std::fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path()).collect();
    versions.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kubectl.1.")));
    versions.sort();
    match versions.as_slice() {
        [] => vec![plain],
        [oldest] => vec![oldest.clone(), plain],
        [oldest, .., newest] => vec![oldest.clone(), newest.clone()],
    }
}

const MANIFEST: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {color: blue}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'nginx:1.17.1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
";

#[tokio::test]
async fn the_oldest_kubectl_does_its_daily_work() {
    does_its_daily_work(programs().remove(0)).await;
}

#[tokio::test]
async fn the_newest_kubectl_does_its_daily_work() {
    does_its_daily_work(programs().pop().expect("there is one")).await;
}

async fn does_its_daily_work(program: PathBuf) {
    let replica = Replica::start().await;
    let kubectl = Kubectl { replica: &replica, program };
    manifests_are_applied(&kubectl).await;
    objects_are_made_by_verbs(&kubectl).await;
    nodes_are_drained(&kubectl).await;
    kubectl.says("delete -f - --wait=true", MANIFEST, "service \"web\" deleted").await;
    let missing = replica.kubectl(&kubectl.program, &["get", "cm", "settings"], "", 1).await;
    assert!(missing.contains(r#"Error from server (NotFound): configmaps "settings" not found"#), "{missing}");
    replica.stop().await;
}

struct Kubectl<'a> {
    replica: &'a Replica,
    program: PathBuf,
}

impl Kubectl<'_> {
    /// Runs one command that must succeed and say these words.
    async fn says(&self, args: &str, stdin: &str, words: &str) {
        let args: Vec<&str> = args.split_whitespace().collect();
        let said = self.replica.kubectl(&self.program, &args, stdin, 0).await;
        assert!(said.contains(words), "{:?} {args:?} said:\n{said}\ninstead of: {words}", self.program);
    }

    async fn all_say(&self, commands: &[(&str, &str)]) {
        for (args, words) in commands {
            self.says(args, "", words).await;
        }
    }
}

async fn manifests_are_applied(kubectl: &Kubectl<'_>) {
    kubectl.says("apply -f -", MANIFEST, "deployment.apps/web created").await;
    kubectl.says("apply -f -", MANIFEST, "deployment.apps/web unchanged").await;
    kubectl.says("diff -f -", MANIFEST, "").await;
    kubectl.says("apply -f -", &MANIFEST.replace("blue", "red"), "configmap/settings configured").await;
    let commands = [
        ("get configmap settings -o jsonpath={.data.color}", "red"),
        ("get deploy,svc,cm -A -o wide", "nginx:1.17.1"),
        ("get all --show-labels", "service/web"),
        ("describe deployment web", "nginx:1.17.1"),
        ("label cm settings tier=front", "configmap/settings labeled"),
        ("get cm -l tier=front -o name", "configmap/settings"),
        ("annotate cm settings note=hello", "configmap/settings annotate"),
        ("wait --for=jsonpath={.data.color}=red cm/settings --timeout=5s", "condition met"),
        ("edit cm settings", "configmap/settings edited"),
        ("get cm settings -o jsonpath={.data.color}", "green"),
        ("scale deployment web --replicas=5", "scaled"),
        ("get deployment web -o jsonpath={.spec.replicas}", "5"),
        ("set image deployment/web web=nginx:1.18", "image updated"),
        ("patch deployment web -p {\"spec\":{\"paused\":true}}", "patched"),
    ];
    kubectl.all_say(&commands).await;
}

async fn objects_are_made_by_verbs(kubectl: &Kubectl<'_>) {
    let commands = [
        ("create namespace team --dry-run=server", "created (server dry run)"),
        ("create namespace team", "created"),
        ("create deployment made --image=nginx:1.17.1 --replicas=0 -n team", "created"),
        ("get deployment made -n team -o jsonpath={.spec.replicas}", "0"),
        ("create secret generic hidden --from-literal=a=b -n team", "created"),
        ("get secret hidden -n team -o jsonpath={.data.a}", "Yg=="),
        ("expose deployment made --port=80 -n team", "exposed"),
        ("rollout history deployment made -n team", "deployment.apps/made"),
        ("rollout restart deployment made -n team", "restarted"),
        ("rollout pause deployment made -n team", "paused"),
        ("rollout resume deployment made -n team", "resumed"),
        ("run one --image=busybox:1.30 -n team", "pod/one created"),
        ("get pods -n team", "Pending"),
        ("delete pod one -n team", "deleted"),
        ("explain pod.spec.containers.image", "string"),
        ("api-resources", "deployments"),
        ("api-versions", "apps/v1"),
        ("version", "v1.33.0+kontiki"),
        ("cluster-info", "is running at"),
        ("get --raw /readyz?verbose", "readyz check passed"),
        ("auth can-i create pods", "yes"),
    ];
    kubectl.all_say(&commands).await;
}

async fn nodes_are_drained(kubectl: &Kubectl<'_>) {
    let client = kubectl.replica.admin();
    post(&client, "/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await.expect(201);
    let mut bound = pod("bound");
    bound["spec"]["nodeName"] = "n1".into();
    post(&client, PODS, &bound).await.expect(201);
    // Nothing of it runs any more, so it goes at once: no agent is there to end it.
    let done = json!({"status": {"phase": "Succeeded"}});
    patch(&client, &format!("{PODS}/bound/status"), &done).await.expect(200);
    let commands = [
        ("cordon n1", "node/n1 cordoned"),
        ("drain n1 --force", "pod/bound evicted"),
        ("uncordon n1", "node/n1 uncordoned"),
    ];
    kubectl.all_say(&commands).await;
}

/// The slips that people make in manifests: the answer names them.
#[tokio::test]
async fn kubectl_shows_what_is_wrong_with_a_manifest() {
    let replica = Replica::start().await;
    for program in programs() {
        for (manifest, words) in [
            ("apiVersion: v1\nkind: namespace\nmetadata: {name: dev}\n", "namespace"),
            (
                "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n  image: nginx\n",
                "unknown field \"spec.image\"",
            ),
            (
                "apiVersion: v1\nkind: Pod\nmetadata: {name: P}\nspec: {containers: [{name: c, image: i}]}\n",
                "metadata.name",
            ),
        ] {
            let said = replica.kubectl(&program, &["apply", "-f", "-"], manifest, 1).await;
            assert!(said.contains(words), "{program:?} said:\n{said}");
        }
    }
    replica.stop().await;
}
