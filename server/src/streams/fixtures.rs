//! An agent's end of a tunnel, for the tests of this room. Acts.

use futures::{Stream, StreamExt as _, stream};
use proto::seam::Env;
use proto::session::node_client::NodeClient;
use proto::session::{AgentMessage, Frame, Hello, PortForward, agent_message, frame, open_tunnel, replica_message};
use raft::{Role, Roster, Standing};
use tokio::sync::watch;
use tonic::{Request, Streaming};

use crate::auth::Identity;
use crate::sessions::{Config, Sessions, Tunnel};

const NODE: &str = "n1";

/// A tunnel, and what comes out of it at its agent, which says nothing itself.
pub async fn tunnel() -> (Tunnel, Streaming<Frame>) {
    tunnel_to(stream::pending()).await
}

/// The same, to an agent that has something to say.
pub async fn tunnel_to(says: impl Stream<Item = Frame> + Send + 'static) -> (Tunnel, Streaming<Frame>) {
    let role = Role::Follower;
    let standing = Standing { id: 1, role, term: 1, leader: None, applied_index: 0, leads_in_term: None };
    let (roster, standing) = (watch::channel(Roster::default()).1, watch::channel(standing).1);
    let sessions = Sessions::new(Config { cluster_id: "test".into(), epoch: 0, roster, standing }, Env::real());
    // Without a network: the client calls the service itself.
    let mut agent = NodeClient::new(sessions.service());
    let hello = agent_message::Message::Hello(Hello { node: NODE.into(), ..Hello::default() });
    let hello = AgentMessage { message: Some(hello) };
    let mut session = agent.session(beginning(hello, stream::pending())).await.expect("a session").into_inner();
    let dialled = async {
        let id = loop {
            let message = session.message().await.expect("the session stands").expect("it goes on");
            if let Some(replica_message::Message::OpenTunnel(asked)) = message.message {
                break asked.id;
            }
        };
        let first = Frame { frame: Some(frame::Frame::Id(id)) };
        agent.tunnel(beginning(first, says)).await.expect("somebody waits for the tunnel").into_inner()
    };
    let asked = open_tunnel::Request::PortForward(PortForward::default());
    let (opened, frames) = tokio::join!(sessions.open(NODE, asked), dialled);
    (opened.expect("the agent dials"), frames)
}

/// A stream of the agent that begins with this message.
fn beginning<M: Send + 'static>(
    first: M,
    rest: impl Stream<Item = M> + Send + 'static,
) -> Request<impl Stream<Item = M> + Send + 'static> {
    let mut request = Request::new(stream::iter([first]).chain(rest));
    let user = format!("system:node:{NODE}");
    request.extensions_mut().insert(Identity::new(&user, &["system:nodes"]));
    request
}
