//! Stock kubectl's streams through a whole replica and an agent's tunnels: exec, attach, cp, logs, port-forward.
//! Over SPDY/3.1 (the older kubectl) and over WebSockets (the newer one).

mod processes;
mod world;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use world::{DEADLINE, World, programs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_and_its_exit_code_comes_back() {
    let world = World::start().await;
    for program in programs() {
        world.pod(&program, "web", &["main"]).await;
        let said =
            world.kubectl(&program, &["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3"], b"").await;
        assert_eq!((said.text().as_str(), said.code), ("out\n", Some(3)), "{program}: {}", said.stderr);
        assert!(said.stderr.contains("err\n"), "{program}: {}", said.stderr);
        assert!(said.stderr.contains("command terminated with exit code 3"), "{program}: {}", said.stderr);
        let said = world.kubectl(&program, &["exec", "-i", "web", "--", "sort"], b"b\nc\na\n").await.ok();
        assert_eq!(said.text(), "a\nb\nc\n", "{program}");
        let said = world.kubectl(&program, &["exec", "web", "--", "no-such-command"], b"").await;
        assert!(said.code != Some(0) && said.stderr.contains("No such file"), "{program}: {}", said.stderr);
        let said = world.kubectl(&program, &["attach", "-i", "web"], b"hello\n").await.ok();
        assert!(said.text().contains("hello"), "{program}: {}", said.text());
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_streams_come_through_whole_in_both_directions() {
    let world = World::start().await;
    let sent: Vec<u8> = (0..20u32 << 20).map(|index| (index ^ index >> 8 ^ index >> 16) as u8).collect();
    let (there, back) = (world.dir.path().join("there"), world.dir.path().join("back"));
    for program in programs() {
        world.pod(&program, "web", &["main"]).await;
        let said = world.kubectl(&program, &["exec", "-i", "web", "--", "cat"], &sent).await.ok();
        assert!(said.stdout == sent, "{program}: {} of {} bytes", said.stdout.len(), sent.len());
        let original = world.dir.path().join("original");
        std::fs::write(&original, &sent).unwrap();
        let remote = format!("web:{}", there.display());
        world.kubectl(&program, &["cp", original.to_str().unwrap(), &remote], b"").await.ok();
        assert!(std::fs::read(&there).unwrap() == sent, "{program}: what was copied there is not the same");
        world.kubectl(&program, &["cp", &remote, back.to_str().unwrap()], b"").await.ok();
        assert!(std::fs::read(&back).unwrap() == sent, "{program}: what was copied back is not the same");
        std::fs::remove_file(&there).unwrap();
        std::fs::remove_file(&back).unwrap();
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_read_and_followed() {
    let world = World::start().await;
    for program in programs() {
        world.pod(&program, "web", &["main"]).await;
        let said = world.kubectl(&program, &["logs", "web", "--tail=2"], b"").await.ok();
        assert_eq!(said.text(), "line 1\nline 2\n", "{program}");
        let said = world.kubectl(&program, &["logs", "web", "--limit-bytes=10"], b"").await.ok();
        assert_eq!(said.text(), "line 1\nlin", "{program}");
        let mut following = world.spawn(&program, &["logs", "-f", "web"]);
        let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
        for expected in ["line 1", "line 2", "line 3"] {
            let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("the line comes at once");
            assert_eq!(line.unwrap().as_deref(), Some(expected), "{program}");
        }
        following.kill().await.unwrap();
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_had_is_explained() {
    let world = World::start().await;
    for program in programs() {
        world.pod(&program, "pair", &["main", "dead"]).await;
        for (args, part) in [
            (&["logs", "absent"][..], r#"pods "absent" not found"#),
            (&["logs", "pair", "-c", "z"], "container z is not valid for pod pair"),
            (&["logs", "pair", "-c", "main", "-p"], r#"previous terminated container "main" in pod "pair" not found"#),
            (&["logs", "pair", "-c", "main", "--since=1s", "--tail=-2"], "tail"),
            (&["exec", "absent", "--", "ls"], r#"pods "absent" not found"#),
            (&["exec", "pair", "-c", "z", "--", "ls"], "container z is not valid for pod pair"),
            (&["exec", "pair", "-c", "dead", "--", "ls"], "container not found"),
        ] {
            let said = world.kubectl(&program, args, b"").await;
            assert!(said.code != Some(0) && said.stderr.contains(part), "{program} {args:?}: {}", said.stderr);
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_is_forwarded() {
    let world = World::start().await;
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    for program in programs() {
        world.pod(&program, "web", &["main"]).await;
        let mut forwarding = world.spawn(&program, &["port-forward", "pod/web", &format!(":{port}")]);
        let mut lines = BufReader::new(forwarding.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("kubectl says where").unwrap();
        let line = line.expect("kubectl says where");
        let near = line.split_whitespace().nth(2).unwrap().to_owned();
        for size in [1usize, 3 << 20] {
            let sent: Vec<u8> = (0..size).map(|index| index as u8).collect();
            let mut stream = TcpStream::connect(&near).await.unwrap();
            let (mut read, mut write) = stream.split();
            let mut received = vec![0; size];
            let both = async { tokio::join!(write.write_all(&sent), read.read_exact(&mut received)) };
            let (written, read) = tokio::time::timeout(DEADLINE, both).await.expect("the echo comes in time");
            written.unwrap();
            read.unwrap();
            assert!(received == sent, "{program}");
        }
        forwarding.kill().await.unwrap();
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_ends_with_the_run_of_its_replica() {
    for program in programs() {
        let mut world = World::start().await;
        world.pod(&program, "web", &["main"]).await;
        let mut forwarding = world.spawn(&program, &["port-forward", "pod/web", ":80"]);
        let mut running = world.spawn(&program, &["exec", "-i", "web", "--", "sh", "-c", "echo begun; cat"]);
        for (child, begun) in [(&mut forwarding, "Forwarding from"), (&mut running, "begun")] {
            let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
            let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("it begins").unwrap();
            assert!(line.as_ref().is_some_and(|line| line.starts_with(begun)), "{program}: {line:?}");
        }
        let _input = running.stdin.take();
        world.end_run().await;
        for (child, why) in [(forwarding, ""), (running, "the replica that the stream went through ends its run")] {
            let said = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
            let said = said.unwrap_or_else(|_| panic!("{program} goes on")).unwrap();
            let text = String::from_utf8_lossy(&said.stderr);
            assert!(!said.status.success() && text.contains(why), "{program}: {:?} {text}", said.status);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_told_of_its_pods_and_of_what_they_refer_to() {
    let mut world = World::start().await;
    let program = programs().pop().unwrap();
    let has = |key: &'static str| {
        move |work: &Option<std::sync::Arc<node::session::Work>>| {
            work.as_ref().is_some_and(|work| work.items.contains_key(key))
        }
    };
    let settings =
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"color": "blue"}}"#;
    world.kubectl(&program, &["apply", "-f", "-"], settings.as_bytes()).await.ok();
    let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"nodeName": "n1",
        "terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": "busybox:1.30",
        "envFrom": [{"configMapRef": {"name": "settings"}}]}]}}"#;
    world.kubectl(&program, &["apply", "-f", "-"], pod.as_bytes()).await.ok();
    let work = world.work(has("pods/default/web")).await;
    let settings = String::from_utf8_lossy(&work.items["configmaps/default/settings"]).into_owned();
    assert!(settings.contains("blue") && settings.contains("resourceVersion"), "{settings}");
    let patch = r#"{"data": {"color": "red"}}"#;
    world.kubectl(&program, &["patch", "configmap", "settings", "--type=merge", "-p", patch], b"").await.ok();
    let red = |work: &Option<std::sync::Arc<node::session::Work>>| {
        let json = work.as_ref().and_then(|work| work.get("configmaps", "default", "settings"));
        json.is_some_and(|json| String::from_utf8_lossy(json).contains("red"))
    };
    world.work(red).await;
    world.kubectl(&program, &["delete", "pod", "web", "--force", "--grace-period=0"], b"").await.ok();
    let gone = world.work(|work| work.as_ref().is_some_and(|work| !work.items.contains_key("pods/default/web"))).await;
    assert!(!gone.items.contains_key("configmaps/default/settings"));
    world.stop().await;
}
