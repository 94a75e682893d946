//! What a caller is told of a call whose attempts end in different ways.

use std::iter::{once, repeat_n};

use api::status::Status;
use k8s_openapi::api::core::v1::ConfigMap;
use kontiki_client::{Api, Error};

use crate::frozen::merge;
use crate::replica::{Answer, Cluster};

/// More attempts than any caller has time for.
const MANY: usize = 1000;

/// The outcome of this attempt is not known.
pub fn lost() -> Answer {
    Answer::Refusal(Status::timeout("the leader changed", 0))
}

/// This attempt did nothing.
fn refused() -> Answer {
    Answer::Refusal(Status::service_unavailable("nobody leads", 1))
}

/// A client of the only replica, which answers so.
fn only(answers: impl IntoIterator<Item = Answer>) -> (Cluster, Api<ConfigMap>) {
    let cluster = Cluster::new(1);
    cluster.replicas[0].answer(answers);
    let api = cluster.client().namespaced("default").sole_writer();
    (cluster, api)
}

/// Of a write that somebody else has made in between, it would leave nothing.
#[tokio::test(start_paused = true)]
async fn a_patch_that_may_have_been_done_is_not_sent_again_unless_nobody_else_writes() {
    let cluster = Cluster::new(3);
    let patched = async |api: Api<ConfigMap>| {
        let before = cluster.writes();
        cluster.replicas.iter().for_each(|replica| replica.answer([lost()]));
        let outcome = api.patch("one", merge()).await;
        cluster.replicas.iter().for_each(|replica| replica.answer([]));
        (outcome, cluster.writes() - before)
    };
    let api = cluster.client().namespaced::<ConfigMap>("default");
    let (outcome, writes) = patched(api.clone()).await;
    assert!(matches!(outcome, Err(Error::Unknown(_))), "{outcome:?}");
    assert_eq!(writes, 0, "no replica that would have done it was asked");
    assert!(outcome.unwrap_err().to_string().ends_with("look at what is there before you try again"));
    let (outcome, writes) = patched(api.sole_writer()).await;
    assert_eq!((outcome.is_ok(), writes), (true, 1));
}

#[tokio::test(start_paused = true)]
async fn a_patch_of_which_nothing_was_done_is_sent_again_by_whomever() {
    let cluster = Cluster::new(3);
    cluster.replicas.iter().for_each(|replica| replica.answer([refused()]));
    cluster.client().namespaced::<ConfigMap>("default").patch("one", merge()).await.unwrap();
    assert_eq!(cluster.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_may_have_been_done_is_unknown_though_later_attempts_did_nothing() {
    let (_cluster, api) = only(once(lost()).chain(repeat_n(refused(), MANY)));
    let outcome = api.patch("one", merge()).await;
    assert!(matches!(outcome, Err(Error::Unknown(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_of_which_no_attempt_did_anything_changed_nothing() {
    let (cluster, api) = only(repeat_n(refused(), MANY));
    let outcome = api.patch("one", merge()).await;
    assert!(matches!(outcome, Err(Error::Unreachable(_))), "{outcome:?}");
    assert_eq!(cluster.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_read_has_no_unknown_outcome() {
    let (_cluster, api) = only(once(lost()).chain(repeat_n(refused(), MANY)));
    let outcome = api.get("one").await;
    assert!(matches!(outcome, Err(Error::Unreachable(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_at_last_is_the_answer() {
    let kind = api::kinds::find("", "v1", "configmaps").unwrap();
    let (_cluster, api) = only([lost(), Answer::Refusal(Status::not_found(kind, "one"))]);
    let outcome = api.patch("one", merge()).await;
    assert!(outcome.as_ref().is_err_and(Error::is_not_found), "{outcome:?}");
}
