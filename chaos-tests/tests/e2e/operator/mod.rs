//! What an operator does to a cluster, with the commands of docs/backup-and-recovery.md, docs/operate-members.md and
//! docs/time-travel.md. One story per file.

mod backup;
mod members;
mod own;
mod past;
mod recovery;
mod slips;

use crate::harness::Output;

/// The command fails, says why in one line that has these words, and does not crash.
#[track_caller]
fn fails(output: Output, words: &[&str]) -> String {
    let said = output.expect_failure();
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
    assert!(
        said.starts_with("kontiki: ") && said.lines().count() == 1,
        "that is not one line of the command's: {said}"
    );
    said
}
