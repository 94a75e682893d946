//! A leader's task: writes with the term it was started in, and goes on for a while after the leadership is gone,
//! as a task does that has not heard of it yet. Acts.

use std::sync::Arc;
use std::time::Duration;

use proto::seam::{Clock, Random};
use raft::{Action, Command, Outcome, Precondition, Store};

use super::clients::op;
use super::seen::Shared;
use crate::check::acknowledged::Acknowledged;

const PAUSE_MS: u64 = 300;
/// Writes after the leadership was lost.
const LATE_WRITES: u32 = 3;

pub async fn run(store: Store, shared: Shared, random: Random, clock: Arc<dyn Clock>) {
    let mut standing = store.standing();
    loop {
        let Ok(term) = standing.wait_for(|now| now.leads_in_term.is_some()).await.map(|now| now.leads_in_term) else {
            return;
        };
        let term = term.expect("it was waited for");
        shared.lock().began.entry(term).or_insert(store.state().revision());
        let mut late = 0;
        let _writing = shared.writing();
        while late < LATE_WRITES && !shared.is_quiet() {
            let leads = standing.borrow_and_update().leads_in_term == Some(term);
            late += u32::from(!leads);
            let value = shared.value();
            let put = op("leader", Precondition::Any, Action::Put(value.to_string().into()));
            let command = Command {
                fence: Some(term),
                proposed_at_ms: clock.now_ms(),
                author: format!("fence:{term}"),
                ops: vec![put],
            };
            match store.propose(command).await {
                Ok(Outcome::Fenced { term: now }) if now <= term => {
                    shared.violated(format!("a command of term {term} was fenced in term {now}"));
                }
                Ok(Outcome::Conflict { .. }) => shared.violated("a put without precondition met a conflict".into()),
                Ok(outcome) => {
                    shared.note(format_args!("fenced write of term {term}: {outcome:?}"));
                    if let Outcome::Applied { revisions } = outcome {
                        let put = revisions.last().map(|at| Acknowledged::Put { value, at: *at });
                        shared.lock().acknowledged.extend(put);
                    }
                }
                Err(error) => shared.note(format_args!("fenced write of term {term}: {error}")),
            }
            tokio::time::sleep(Duration::from_millis(random.below(PAUSE_MS))).await;
        }
        if shared.is_quiet() {
            return;
        }
    }
}
