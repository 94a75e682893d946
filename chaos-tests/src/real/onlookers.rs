//! Who looks on while things go wrong: one for each replica, who asks it, alone, how it sees itself and the others, and reads its
//! log as it grows. Acts; [`super::testimony`] decides.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::Client;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::plan::Host;
use super::said::{self, Said};
use super::testimony::Testimony;
use crate::store::seen::Shared;

const LOOK_EVERY: Duration = Duration::from_millis(150);
/// A replica asks the others, and waits 700 ms for those that say nothing.
const ANSWER_MAX: Duration = Duration::from_secs(1);

pub struct Onlooker {
    host: Host,
    /// Of this replica alone.
    client: Client,
    log: Tail,
    /// How often the replica has begun to serve, by its log.
    runs: u64,
    testimony: Arc<Mutex<Testimony>>,
}

impl Onlooker {
    pub fn new(host: Host, client: Client, log: PathBuf, testimony: Arc<Mutex<Testimony>>) -> Onlooker {
        Onlooker { host, client, log: Tail { path: log, read: 0 }, runs: 0, testimony }
    }

    /// Until it is over. Onlookers who have one beginning look at the same moments, so that they often see one revision.
    pub async fn look_on(mut self, beginning: Instant, shared: Shared, over: CancellationToken) -> Onlooker {
        let mut ticks = interval_at(beginning, LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while over.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(why) = self.look().await {
                shared.violated(why);
            }
        }
        self
    }

    async fn look(&mut self) -> Result<(), String> {
        self.listen()?;
        let before = self.runs;
        // One that is down, frozen or cut off says nothing.
        let Ok(Ok(reply)) = timeout(ANSWER_MAX, self.client.status()).await else { return Ok(()) };
        self.listen()?;
        // It serves after its log has said so: where that says nothing new, the answer is of the run that it said last.
        let run = Some(self.runs).filter(|now| *now == before);
        self.testimony.lock().expect("no holder of the testimony panics").look(self.host, run, &reply)
    }

    /// Takes in what the log has had since.
    pub fn listen(&mut self) -> Result<(), String> {
        let lines = self.log.new_lines();
        let lines = lines.map_err(|error| format!("the log of replica {}: {error}", self.host))?;
        let mut testimony = self.testimony.lock().expect("no holder of the testimony panics");
        for said in lines.lines().filter_map(said::read) {
            self.runs += u64::from(said == Said::Serves);
            testimony.hear(self.host, said)?;
        }
        Ok(())
    }
}

/// A file that grows.
struct Tail {
    path: PathBuf,
    /// So many bytes of it are known.
    read: u64,
}

impl Tail {
    fn new_lines(&mut self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // The last line may not be whole yet.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
        self.read += bytes.len() as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn every_line_of_a_file_that_grows_is_read_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = File::create(&path).unwrap();
        let mut tail = Tail { path, read: 0 };
        let mut after = |written: &str| {
            file.write_all(written.as_bytes()).unwrap();
            tail.new_lines().unwrap()
        };
        assert_eq!(after("one\ntwo\nthr"), "one\ntwo\n");
        assert_eq!(after(""), "");
        assert_eq!(after("ee\n"), "three\n");
        assert_eq!(after("four\n"), "four\n");
    }

    #[tokio::test]
    async fn a_log_is_heard_with_all_its_runs_and_what_it_says_is_held_against_the_others() {
        proto::tls::install_provider();
        let dir = tempfile::tempdir().unwrap();
        let testimony = Arc::new(Mutex::new(Testimony::default()));
        let onlooker = |host: Host| {
            let log = dir.path().join(format!("log-{host}"));
            Onlooker::new(host, nobody(), log, testimony.clone())
        };
        let say = |host: Host, lines: &str| std::fs::write(dir.path().join(format!("log-{host}")), lines).unwrap();
        let serves = "kontiki_server::run: serving replica=1\n";
        let leads = "kontiki_server::leader: leading: starting the scheduler and the controllers term=4 revision=7\n";
        say(1, &[serves, leads, serves].concat());
        say(2, leads);
        let (mut one, mut two) = (onlooker(1), onlooker(2));
        one.listen().unwrap();
        assert_eq!(one.runs, 2);
        assert_eq!(two.listen(), Err("1 and 2 both lead term 4".to_owned()));
    }

    /// Of no replica that is there.
    fn nobody() -> Client {
        let authority = proto::pki::Authority::make("test").unwrap();
        let request = proto::pki::Request { common_name: "test", organizations: &[], hosts: &[] };
        let pair = authority.sign(&request).unwrap();
        let identity = client::Identity {
            certificate_pem: pair.certificate_pem,
            key_pem: pair.key_pem,
            authority_pem: authority.certificate_pem().to_owned(),
        };
        Client::connect(client::Config::new(vec!["127.0.0.1:1".into()], identity)).unwrap()
    }
}
