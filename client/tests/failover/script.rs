//! What replicas tell a watcher, as text: a line for each time that a watch is opened, at whichever of them. Acts.
//!
//! `ADDED a@50, END @55, BREAK`: the object `a` with revision 50, the bookmark that ends what is there at first, and the stream
//! breaks off. With `CLOSE` it ends in good order, with neither it stays open. `a/2@60` is another object with a's name.

use std::collections::VecDeque;
use std::sync::Mutex;

use proto::api as wire;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

pub type Told = ReceiverStream<Result<wire::WatchEvent, Status>>;

pub struct Script {
    lines: Mutex<VecDeque<String>>,
    asked: Mutex<Vec<(usize, wire::WatchRequest)>>,
}

impl Script {
    pub fn new(lines: &[&str]) -> Script {
        Script { lines: Mutex::new(lines.iter().map(|line| line.to_string()).collect()), asked: Mutex::default() }
    }

    /// Which replicas were asked to watch, and what for.
    pub fn asked(&self) -> Vec<(usize, wire::WatchRequest)> {
        self.asked.lock().unwrap().clone()
    }

    pub fn open(&self, replica: usize, request: wire::WatchRequest) -> Told {
        self.asked.lock().unwrap().push((replica, request));
        let line = self.lines.lock().unwrap().pop_front().unwrap_or_default();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            for step in line.split(", ").filter(|step| !step.is_empty()) {
                let event = match step {
                    "CLOSE" => return,
                    "BREAK" => Err(Status::unavailable("broken off")),
                    step => Ok(event(step)),
                };
                let broken = event.is_err();
                if sender.send(event).await.is_err() || broken {
                    return;
                }
            }
            sender.closed().await;
        });
        ReceiverStream::new(receiver)
    }
}

fn event(step: &str) -> wire::WatchEvent {
    let (word, object) = step.split_once(' ').expect("a word and an object");
    let (name, version) = object.split_once('@').expect("every event has a revision");
    let (name, uid) = name.split_once('/').unwrap_or((name, "1"));
    let (word, metadata) = match word {
        "END" => {
            let annotations = json!({"k8s.io/initial-events-end": "true"});
            ("BOOKMARK", json!({"resourceVersion": version, "annotations": annotations}))
        }
        "BOOKMARK" => ("BOOKMARK", json!({"resourceVersion": version})),
        word => (word, json!({"namespace": "default", "name": name, "uid": uid, "resourceVersion": version})),
    };
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
    wire::WatchEvent { r#type: word.into(), json: object.to_string().into() }
}
