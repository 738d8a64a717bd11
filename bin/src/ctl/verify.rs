//! `lunmirrorctl verify`: begins a comparison of both copies, looks on while it lasts, and says what came of it.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use lunmirror::api::client::{Client, ClientError};
use lunmirror::api::{Command, Done, GroupReport, VerifyState, VerifyStatus};
use tokio::time::sleep;

use super::{show, watch};

/// `path` is the group's. It goes on by itself when nobody looks on any more.
pub async fn verify(client: &Client, path: &str, command: Command, json: bool) -> Result<ExitCode, ClientError> {
    let done: Done = client.post(&format!("{path}/command"), &command).await?;
    if !json {
        done.remarks.iter().for_each(|remark| super::say(&format!("{remark}\n")));
    }
    let bar = (!json && io::stderr().is_terminal()).then(|| watch::Walk::new("verify"));
    let mut number = None;
    let (group, told) = loop {
        let group: GroupReport = client.get(path).await?;
        let Some(told) = group.status.verify.clone() else { return Ok(ExitCode::FAILURE) };
        // Another one has begun since.
        let is_another = *number.get_or_insert(told.number) != told.number;
        if told.state != VerifyState::Running || is_another {
            break (group, told);
        }
        bar.iter().for_each(|bar| bar.show(&told));
        sleep(LOOK_EVERY).await;
    };
    drop(bar);
    match json {
        true => super::say_json(&told),
        false => super::say(&show::verified(&group, &told)),
    }
    Ok(if is_well(&told) { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_FAILED) })
}

/// Both copies are alike now, and all of them was looked at.
fn is_well(told: &VerifyStatus) -> bool {
    told.state == VerifyState::Finished && told.unread_bytes == 0 && (told.differing_bytes == 0 || told.repair)
}

const LOOK_EVERY: Duration = Duration::from_millis(200);
