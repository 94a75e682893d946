use super::*;

fn well(applied: u64) -> Other {
    Other::Answers { applied, serves: true, fills: false, leads: false, repair: Repair::None }
}

fn leader(applied: u64) -> Other {
    Other::Answers { applied, serves: true, fills: false, leads: true, repair: Repair::None }
}

fn damaged(repair: Repair) -> Other {
    Other::Answers { applied: 100, serves: true, fills: false, leads: false, repair }
}

const FILLS: Other = Other::Answers { applied: 100, serves: false, fills: true, leads: false, repair: Repair::None };
const FAILED: Other = Other::Answers { applied: 100, serves: false, fills: false, leads: false, repair: Repair::None };
const SILENT: Other = Other::Silent(Duration::from_secs(3));
const LOST: Other = Other::Silent(SILENCE);

/// Replica `id` of as many as there are.
fn of(id: u64, others: &[(u64, Other)]) -> View {
    let voters = others.iter().map(|(other, _)| *other).chain([id]).collect();
    View {
        id,
        applied: 100,
        serves: true,
        leads: false,
        may_go: true,
        voters,
        others: others.iter().copied().collect(),
    }
}

fn waits(view: &View) -> String {
    match decide(view) {
        Decision::Wait(why) => why,
        go => panic!("{go:?}"),
    }
}

#[test]
fn it_goes_where_the_others_are_a_majority_that_is_well() {
    assert_eq!(decide(&of(2, &[(1, leader(100)), (3, well(99))])), Decision::Go { heir: 1 });
    let leads = View { leads: true, ..of(2, &[(1, well(98)), (3, well(99))]) };
    assert_eq!(decide(&leads), Decision::Go { heir: 3 }, "the most advanced leads after it");
    for (other, words) in [
        (FAILED, "2 other voters must be well and up to date, and 1 are"),
        (SILENT, "2 other voters must be well"),
        (LOST, "2 other voters must be well"),
        (
            Other::Answers { applied: 100, serves: true, fills: false, leads: false, repair: Repair::Goes },
            "replica 3 is first",
        ),
        (FILLS, "replica 3 is first"),
    ] {
        let why = waits(&of(2, &[(1, leader(100)), (3, other)]));
        assert!(why.starts_with(words), "{why}");
    }
    let ahead = View { applied: 100 + LAG_MAX, ..of(2, &[(1, leader(100 + LAG_MAX)), (3, well(99))]) };
    assert!(waits(&ahead).starts_with("2 other voters"), "a replica that lags fills nobody");
    assert_eq!(waits(&of(2, &[(1, well(100)), (3, well(100))])), "nobody leads");
}

#[test]
fn a_cluster_of_one_or_two_has_no_majority_beside_it() {
    assert!(waits(&View { leads: true, ..of(1, &[]) }).starts_with("1 other voters"));
    assert!(waits(&of(2, &[(1, leader(100))])).starts_with("2 other voters"));
}

#[test]
fn of_five_one_may_be_lost_but_not_just_away() {
    let with = |other| of(2, &[(1, leader(100)), (3, well(100)), (4, well(100)), (5, other)]);
    assert_eq!(waits(&with(SILENT)), "replica 5 does not answer", "it may be the one that begins anew");
    assert_eq!(decide(&with(LOST)), Decision::Go { heir: 1 });
    assert_eq!(waits(&with(FILLS)), "replica 5 is first, one does so at a time");
}

#[test]
fn of_two_that_are_damaged_the_leader_goes_first_and_then_the_lower_id() {
    let wants = damaged(Repair::Wants);
    let two = |id, other| of(id, &[(1, leader(100)), (other, wants)]);
    assert_eq!(decide(&two(2, 3)), Decision::Go { heir: 1 });
    assert_eq!(waits(&two(3, 2)), "replica 2 is first, one does so at a time");
    let leading = Other::Answers { applied: 100, serves: true, fills: false, leads: true, repair: Repair::Wants };
    assert_eq!(waits(&of(2, &[(1, well(100)), (3, leading)])), "replica 3 is first, one does so at a time");
    let leads = View { leads: true, ..of(3, &[(1, well(100)), (2, wants)]) };
    assert_eq!(decide(&leads), Decision::Go { heir: 1 }, "the leadership goes to a replica whose data is sound");
    assert_eq!(decide(&of(3, &[(1, leader(100)), (2, damaged(Repair::Waits))])), Decision::Go { heir: 1 });
    let leading = Other::Answers { applied: 100, serves: true, fills: false, leads: true, repair: Repair::Waits };
    assert_eq!(waits(&of(2, &[(1, leading), (3, well(100))])), "replica 1 leads, and is not well itself");
}

/// Its raft node has ended, for it needed what is damaged.
#[test]
fn of_two_that_are_damaged_one_that_serves_no_more_goes_first() {
    let ended = Other::Answers { applied: 100, serves: false, fills: false, leads: false, repair: Repair::Wants };
    let serving = [(1, damaged(Repair::Wants)), (2, leader(100))];
    assert_eq!(decide(&View { serves: false, ..of(3, &serving) }), Decision::Go { heir: 2 });
    assert_eq!(waits(&of(1, &[(2, leader(100)), (3, ended)])), "replica 3 is first, one does so at a time");
    let leading = Other::Answers { applied: 100, serves: true, fills: false, leads: true, repair: Repair::Wants };
    let why = waits(&View { serves: false, ..of(3, &[(1, leading), (2, well(100))]) });
    assert_eq!(why, "replica 1 leads, and is not well itself");
    let yields = decide(&View { leads: true, ..of(1, &[(2, well(100)), (3, ended)]) });
    assert!(
        matches!(yields, Decision::Yield { heir: 2, .. }),
        "or 3 waits for ever for a leader that is well: {yields:?}"
    );
}

#[test]
fn a_leader_that_is_hindered_itself_keeps_nobody_from_it() {
    let ended = Other::Answers { applied: 100, serves: false, fills: false, leads: false, repair: Repair::Wants };
    let hindered = |others: &[(u64, Other)]| View { leads: true, may_go: false, ..of(1, others) };
    for wants in [ended, damaged(Repair::Wants)] {
        let yields = decide(&hindered(&[(2, well(100)), (3, wants)]));
        assert!(matches!(yields, Decision::Yield { heir: 2, .. }), "{yields:?}");
    }
    assert_eq!(waits(&hindered(&[(2, well(100)), (3, well(100))])), "it may not go itself");
    assert!(
        waits(&hindered(&[(2, damaged(Repair::Wants)), (3, ended)])).contains("is first"),
        "nobody could lead instead"
    );
    let follows = View { may_go: false, ..of(1, &[(2, leader(100)), (3, ended)]) };
    assert!(waits(&follows).contains("is first"));
}

#[test]
fn where_nobody_s_data_is_sound_nobody_goes() {
    let view = of(1, &[(2, damaged(Repair::Wants)), (3, damaged(Repair::Wants))]);
    assert_eq!(waits(&View { leads: true, ..view }), "no other replica's data is sound");
}

/// Whatever the views are, two that both go have not seen each other's sign: the second look is after it was shown.
#[test]
fn who_sees_another_going_stays() {
    for others in [[(1, leader(100)), (3, damaged(Repair::Goes))], [(1, damaged(Repair::Goes)), (3, leader(100))]] {
        assert!(waits(&of(2, &others)).contains("is first"));
    }
}

#[test]
fn a_learner_needs_a_majority_of_the_voters_as_well() {
    let learner = |other| {
        let mut view = of(4, &[(1, leader(100)), (2, well(100)), (3, other)]);
        view.voters.remove(&4);
        view
    };
    assert_eq!(decide(&learner(LOST)), Decision::Go { heir: 1 });
    assert_eq!(waits(&learner(FILLS)), "replica 3 is first, one does so at a time");
}

#[tokio::test(start_paused = true)]
async fn the_pause_grows_and_is_forgotten_after_a_good_week() {
    let mut renewals = Renewals::default();
    assert_eq!(renewals.pause(), Duration::ZERO, "the first time at once");
    for minutes in [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440] {
        renewals.begin("rot".into());
        assert_eq!(renewals.pause(), Duration::from_secs(60 * minutes));
        tokio::time::advance(renewals.pause()).await;
        assert_eq!(renewals.pause(), Duration::ZERO);
    }
    tokio::time::advance(FORGOTTEN + Duration::from_secs(1)).await;
    renewals.begin("rot".into());
    assert_eq!((renewals.pause(), renewals.count), (PAUSE_FIRST, 11));
}
