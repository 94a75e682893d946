//! Puts the parts of a store together, and starts them; `error`: why that fails. Acts.

mod error;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use proto::seam::Env;
use proto::tls::{self, ClientCertificate};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accord::Accord;
use crate::accord::guard::{self, Franchise, Guard};
use crate::admission::Admission;
use crate::bootstrap::Bootstrap;
use crate::config::Config;
use crate::disk::Disk;
use crate::disk::flusher::Flusher;
use crate::disk::room::Room;
use crate::disk::space::Level;
use crate::fetch::Fetch;
use crate::handover::Handover;
use crate::identity::Identity;
use crate::intake::Intake;
use crate::log::LogStore;
use crate::machine::published::Published;
use crate::members::{Members, keep};
use crate::mend;
use crate::metrics::Metrics;
use crate::past::Past;
use crate::peer::alive::Alive;
use crate::peer::arrival::Arrivals;
use crate::peer::channels::Channels;
use crate::peer::door::Door;
use crate::peer::ear::Ear;
use crate::peer::forward::Forwarder;
use crate::peer::herald::Herald;
use crate::peer::listener;
use crate::peer::network::Factory;
use crate::peer::server::Server;
use crate::peer::succession::Succession;
use crate::peer::{pace, silence};
use crate::propose::Proposer;
use crate::read::Reader;
use crate::read::rounds::Rounds;
use crate::recall::Recall;
use crate::renewal::{Renewal, Shown};
use crate::rhythm::Rhythm;
use crate::scrub;
use crate::standing::{self, Standing};
use crate::trouble::Trouble;
use crate::types::Raft;
use crate::upkeep;

pub use error::OpenError;

/// The parts of a store that runs.
pub(crate) struct Running {
    pub id: u64,
    pub raft: Raft,
    pub log: LogStore,
    pub published: Arc<Published>,
    pub proposer: Arc<Proposer>,
    pub reader: Reader,
    pub past: Past,
    pub standing: watch::Receiver<Standing>,
    pub members: Arc<Members>,
    pub guard: Arc<Guard>,
    pub trouble: Trouble,
    pub cluster_id: String,
    /// Why, once this replica is no member any more.
    pub removed: watch::Receiver<Option<String>>,
    pub renewal: Renewal,
    pub metrics: Arc<Metrics>,
    pub disk: Arc<dyn Disk>,
    pub peer_address: SocketAddr,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

/// `stop`: ends all that was begun, also when this fails, or is given up.
pub(crate) async fn start(
    disk: Arc<dyn Disk>,
    config: Config,
    env: Env,
    stop: CancellationToken,
) -> Result<Running, OpenError> {
    let other = |error: &dyn std::fmt::Display| OpenError::Other(error.to_string());
    let unusable = |source| OpenError::Data { dir: config.dir.clone(), source };
    let id = config.id;
    let raft_config = Arc::new(config.openraft().map_err(|error| other(&error))?);
    let listener = env.net.listen(&config.peer_listen).await;
    let listener = listener.map_err(|source| OpenError::Listen { address: config.peer_listen.clone(), source })?;
    let peer_address = listener.local_address().map_err(|error| other(&error))?;
    let acceptor = tls::acceptor(&config.tls, ClientCertificate::Required, &["h2"]).map_err(|error| other(&error))?;

    let metrics = Arc::new(Metrics::default());
    Metrics::set(&metrics.renewals, config.renewals.count);
    let (tasks, rhythm) = (TaskTracker::new(), Rhythm::begin());
    let room = Room::new(disk.clone(), metrics.clone(), stop.clone());
    let flusher = Flusher::start(room.clone(), metrics.clone());
    let initial = config.initial_members.len();
    let whose = mend::whose(&*disk).map_err(unusable)?;
    let wanted = Identity { cluster_id: config.cluster_id.clone(), replica: id };
    let owner = wanted.hold_against(whose.identity().cloned(), &config.dir)?;
    let emptied = mend::claim(&whose, &owner, &room, &flusher, &metrics).await.map_err(unusable)?;
    let channels = Channels::new(env.net.clone(), &config.tls, &owner.cluster_id)?;
    let opened = mend::open(&room, &flusher, &metrics, &config, &owner, emptied).await;
    let (log, machine) = opened.map_err(unusable)?;
    let cluster_id = owner.cluster_id;
    let (published, generations, reach) = (machine.published(), machine.generations(), machine.reach());
    let leftovers = generations.clone();
    let abstains = Arc::new(AtomicBool::new(Bootstrap::abstained(&*disk).map_err(unusable)?));
    let lost_data = Bootstrap::lost_data(&*disk).map_err(unusable)?;
    let pristine = log.is_pristine();
    let recall = Recall::new(log.vote().is_none() && (pristine || abstains.load(Relaxed)));

    let guard = Guard::open(room.clone(), metrics.clone()).map_err(unusable)?;
    let asks_nobody = initial == 1 && !recall.is_certain();
    let franchise = Franchise { guard: guard.clone(), abstains: abstains.clone(), lost_data, asks_nobody };
    let reported = (room.level(), abstains.clone());
    let accord = Accord::new(id, published.clone(), guard.clone(), reported, metrics.clone());
    let factory = Factory {
        channels: channels.clone(),
        metrics: metrics.clone(),
        accord: accord.clone(),
        guard: guard.clone(),
        log: log.clone(),
        id,
        append_deadline: config.timing.election_max * 2,
    };
    let raft = Raft::new(id, raft_config, factory, log.clone(), machine).await.map_err(|error| other(&error))?;

    if abstains.load(Relaxed) {
        raft.runtime_config().elect(false);
    }
    let (cluster_sender, cluster) = watch::channel(Level::Ample);
    let intake = Intake::start(raft.clone(), stop.clone());
    let admission = Admission {
        intake: intake.clone(),
        guard: guard.clone(),
        own: room.level(),
        cluster,
        published: published.clone(),
    };
    let trouble = Trouble {
        raft: raft.clone(),
        franchise: franchise.clone(),
        level: room.level(),
        metrics: metrics.clone(),
        shown: Shown::default(),
    };
    tasks.spawn(accord.clone().run(raft.clone(), cluster_sender, stop.clone()));
    let handover = Handover { raft: raft.clone(), id, accord: accord.clone() };
    tasks.spawn(guard::hold(guard.clone(), handover.clone(), stop.clone()));
    tasks.spawn(handover.clone().while_room_is_short(room.level(), stop.clone()));
    tasks.spawn(room.clone().watch(rhythm));
    // Not sooner: data that turns out to be damaged is set aside, and what comes in its place has the same numbers.
    tasks.spawn(async move {
        if let Err(error) = leftovers.clear_left().await {
            tracing::warn!(%error, "unfinished snapshots are left on the disk until the next start");
        }
    });
    let (standing_sender, standing) = watch::channel(Standing::new(id));
    let members = Arc::new(Members {
        raft: raft.clone(),
        handover,
        intake,
        id,
        channels: channels.clone(),
        standing: standing.clone(),
        trouble: trouble.clone(),
        initial: config.initial_members.clone(),
        published: published.clone(),
        abstains: abstains.clone(),
        clock: env.clock.clone(),
        roster: watch::Sender::default(),
        turn: Arc::default(),
    });
    let ear = Arc::new(Ear::new(config.timing.silence, config.timing.heartbeat));
    let succession = Succession { raft: raft.clone(), id, franchise: franchise.clone() };
    let alive = Alive::new(channels.clone(), succession.clone(), ear.clone(), metrics.clone());
    let timeout = config.timing.propose_timeout;
    let rounds = Rounds {
        raft: raft.clone(),
        id,
        log: log.clone(),
        channels: channels.clone(),
        standing: standing.clone(),
        metrics: metrics.clone(),
    };
    let reader = Reader::start(rounds, published.applied(), guard.clone(), timeout);
    let server = Server {
        id,
        raft: raft.clone(),
        admission: admission.clone(),
        reader: reader.clone(),
        accord: accord.clone(),
        ear: ear.clone(),
        guard: guard.clone(),
        trouble: trouble.clone(),
        alive: alive.clone(),
        members: members.clone(),
        log: log.clone(),
        generations,
        franchise,
        recall: recall.clone(),
        stop: stop.clone(),
        arrivals: Arrivals::default(),
        settling: Arc::default(),
    };
    let door = Door { cluster_id: cluster_id.clone(), id, published: published.clone(), ear: ear.clone() };
    let incoming = listener::accept(listener, acceptor, &tasks, stop.clone());
    let serving = tonic::transport::Server::builder()
        // Who called notices a dead connection by itself, much sooner: here it only takes room.
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .add_service(server.service(door))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tasks.spawn(serving);
    tasks.spawn(alive.run(stop.clone()));
    let herald = Herald::new(raft.clone(), id, channels.clone(), room.level(), config.timing.heartbeat);
    tasks.spawn(pace::run(
        succession.clone(),
        ear.clone(),
        herald,
        2 * config.timing.election_max,
        rhythm,
        stop.clone(),
    ));
    tasks.spawn(silence::run(succession, ear.clone(), metrics.clone(), stop.clone()));

    let (removed_sender, removed) = watch::channel(None);
    tasks.spawn(keep::note_others(log.clone(), raft.clone(), id, stop.clone()));
    tasks.spawn(keep::run(members.clone(), removed_sender.clone(), rhythm, stop.clone()));
    let sidelining = (guard.subscribe(), room.level());
    let following = standing::follow(
        raft.clone(),
        published.applied(),
        sidelining,
        standing_sender,
        metrics.clone(),
        rhythm,
        stop.clone(),
    );
    tasks.spawn(following);
    let proposer = Arc::new(Proposer {
        raft: raft.clone(),
        id,
        admission,
        ear: ear.clone(),
        forwarder: Forwarder::new(channels.clone(), standing.clone()),
        standing: standing.clone(),
        metrics: metrics.clone(),
        timeout,
    });
    let bootstrap = Bootstrap {
        raft: raft.clone(),
        id,
        members: config.members(),
        channels: channels.clone(),
        reader: reader.clone(),
        proposer: proposer.clone(),
        room: room.clone(),
        flusher,
        ear,
        abstains,
        recall,
        votes_end: config.timing.election_max,
        removed: removed_sender,
    };
    tasks.spawn(bootstrap.run(pristine, stop.clone()));
    let (save, scrub_every) = (config.timing.save, config.timing.scrub);
    tasks.spawn(upkeep::save_now_and_then(raft.clone(), reach.clone(), save, rhythm, stop.clone()));
    tasks.spawn(upkeep::bound_log(raft.clone(), log.clone(), metrics.clone(), rhythm, stop.clone()));
    tasks.spawn(upkeep::run(disk.clone(), published.clone(), log.clone(), reach, env.clock, rhythm, stop.clone()));
    let fetch = Fetch {
        id,
        raft: raft.clone(),
        channels: channels.clone(),
        published: published.clone(),
        disk: disk.clone(),
        level: room.level(),
    };
    tasks.spawn(fetch.run(rhythm, stop.clone()));
    tasks.spawn(scrub::run(disk.clone(), metrics.clone(), scrub_every, rhythm, stop.clone()));
    tasks.close();

    let renewal = Renewal {
        members: members.clone(),
        metrics: metrics.clone(),
        disk: disk.clone(),
        level: room.level(),
        shown: trouble.shown.clone(),
        renewals: config.renewals,
        initial,
    };
    Ok(Running {
        id,
        raft,
        log,
        past: Past::new(published.clone()),
        published,
        proposer,
        reader,
        standing,
        members,
        guard,
        trouble,
        cluster_id,
        removed,
        renewal,
        metrics,
        disk,
        peer_address,
        stop,
        tasks,
    })
}
