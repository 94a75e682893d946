"""The Python client against a live cluster: list, create, watch, patch, delete, log, exec. Says `done` at the end."""

import sys
import time

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream

namespace = sys.argv[1]
config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()

# Nodes, version and kinds: what the client reads is typed, so a wrong shape fails here.
nodes = core.list_node().items
assert len(nodes) == 3 and all(node.status.node_info.container_runtime_version.startswith("docker://") for node in nodes)
assert client.VersionApi().get_code().git_version.startswith("v1.")
assert "deployments" in [kind.name for kind in apps.get_api_resources().resources]

# Objects: create, conflict, replace with a stale revision, patch, list in pages, select.
for number in range(5):
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"map-{number}", labels={"number": str(number % 2)}), data={"a": "b"})
    made = core.create_namespaced_config_map(namespace, body)
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo
try:
    core.create_namespaced_config_map(namespace, body)
    raise SystemExit("a second object of the same name was made")
except ApiException as error:
    assert error.status == 409 and "AlreadyExists" in error.body, error
core.patch_namespaced_config_map("map-4", namespace, {"data": {"a": None, "c": "d"}})
assert core.read_namespaced_config_map("map-4", namespace).data == {"c": "d"}
try:
    core.replace_namespaced_config_map("map-4", namespace, made)
    raise SystemExit("a stale object was written")
except ApiException as error:
    assert error.status == 409 and "Conflict" in error.body, error
page = core.list_namespaced_config_map(namespace, limit=2)
names = [item.metadata.name for item in page.items]
while page.metadata._continue:
    page = core.list_namespaced_config_map(namespace, limit=2, _continue=page.metadata._continue)
    names += [item.metadata.name for item in page.items]
assert names == [f"map-{number}" for number in range(5)], names
assert len(core.list_namespaced_config_map(namespace, label_selector="number=0").items) == 3

# Watch from a known revision: every change once, in order.
since = core.list_namespaced_config_map(namespace).metadata.resource_version
core.patch_namespaced_config_map("map-0", namespace, {"data": {"seen": "yes"}})
core.delete_namespaced_config_map("map-1", namespace)
seen = []
for event in watch.Watch().stream(core.list_namespaced_config_map, namespace, resource_version=since, timeout_seconds=20):
    seen.append((event["type"], event["object"].metadata.name))
    if len(seen) == 2:
        break
assert seen == [("MODIFIED", "map-0"), ("DELETED", "map-1")], seen

# A Deployment, waited for by watching, then its Pod's log and a command in it.
labels = {"app": "python"}
container = client.V1Container(name="main", image="busybox:1.30", command=["sh", "-c", "echo hello; exec sleep 1000"])
template = client.V1PodTemplateSpec(
    metadata=client.V1ObjectMeta(labels=labels),
    spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=0),
)
spec = client.V1DeploymentSpec(replicas=1, selector=client.V1LabelSelector(match_labels=labels), template=template)
apps.create_namespaced_deployment(namespace, client.V1Deployment(metadata=client.V1ObjectMeta(name="python"), spec=spec))
for event in watch.Watch().stream(apps.list_namespaced_deployment, namespace, timeout_seconds=40):
    if event["object"].status.available_replicas == 1:
        break
else:
    raise SystemExit("the Deployment was not available within 40 s")
apps.patch_namespaced_deployment_scale("python", namespace, {"spec": {"replicas": 2}})
deadline = time.monotonic() + 40
while len([pod for pod in core.list_namespaced_pod(namespace, label_selector="app=python").items if pod.status.phase == "Running"]) < 2:
    assert time.monotonic() < deadline, "two Pods were not running within 40 s"
    time.sleep(0.2)
pod = core.list_namespaced_pod(namespace, label_selector="app=python").items[0].metadata.name
deadline = time.monotonic() + 10
while core.read_namespaced_pod_log(pod, namespace) != "hello\n":
    assert time.monotonic() < deadline, core.read_namespaced_pod_log(pod, namespace)
    time.sleep(0.2)
command = ["sh", "-c", "echo out; echo err >&2; read word; echo got $word; exit 3"]
session = stream(
    core.connect_get_namespaced_pod_exec, pod, namespace, command=command, stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False
)
session.write_stdin("this\n")
session.run_forever(timeout=20)
assert session.read_stdout() == "out\ngot this\n" and session.read_stderr() == "err\n"
assert session.returncode == 3, session.returncode

# Deleted in the foreground: what it owns goes first.
apps.delete_namespaced_deployment("python", namespace, propagation_policy="Foreground")
deadline = time.monotonic() + 40
while True:
    try:
        apps.read_namespaced_deployment("python", namespace)
    except ApiException as error:
        assert error.status == 404, error
        break
    assert time.monotonic() < deadline, "a deleted Deployment was still there after 40 s"
    time.sleep(0.2)
assert not core.list_namespaced_pod(namespace, label_selector="app=python").items, "its Pods outlived it"

# What the cluster refuses says where and why.
try:
    core.create_namespaced_pod(namespace, client.V1Pod(metadata=client.V1ObjectMeta(name="Bad"), spec=template.spec))
    raise SystemExit("a Pod with a bad name was made")
except ApiException as error:
    assert error.status == 422 and "metadata.name" in error.body, error
print("done")
