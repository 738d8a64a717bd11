//! `lunmirrorctl`: asks a running `lunmirror-target` over its admin socket, and tells it what to do.

mod arguments;
mod bench;
mod metadata;
mod resolve;
mod secret;
mod show;
mod snapshot;
mod table;
#[cfg(test)]
#[path = "../api/testing.rs"]
mod testing;
#[cfg(test)]
mod tests;
mod undo;
mod verify;
mod watch;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use lunmirror::api::client::{Client, ClientError};
use lunmirror::api::shown::word;
use lunmirror::api::{
    Command, DEFAULT_SOCKET, Done, Explanation, Failure, GroupReport, NodeStatus, PeerStatus, VolumeStatus, WhatIf,
};
use lunmirror::config;
use serde::Serialize;
use serde::de::DeserializeOwned;
use target_core::mirror::dump::{self, Listed};

use arguments::{
    Action, Arguments, Kept, MetadataAction, Named, Order, Place, SecretAction, SnapshotAction, UndoAction,
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::new(error.to_string(), "try again"), EXIT_FAILED, arguments.json),
    };
    match runtime.block_on(run(&arguments)) {
        Ok(status) => status,
        Err((failure, status)) => fail(&failure, status, arguments.json),
    }
}

/// What went wrong, and the exit status that says so.
type Ended = (Failure, u8);

async fn run(arguments: &Arguments) -> Result<ExitCode, Ended> {
    let json = arguments.json;
    let client = || Ok::<_, Ended>(Client::new(socket(&arguments.place)?));
    match &arguments.action {
        Action::Status { watch: Some(every) } => watch::status(&client()?, *every, json).await,
        Action::Status { watch: None } => {
            show(&client()?, "/v1/status", json, |node: &NodeStatus| show::status(node, true)).await
        }
        Action::Peers => show(&client()?, "/v1/peers", json, |peers: &Vec<PeerStatus>| show::peers(peers)).await,
        // With the mirrors in the table, which only the whole status has.
        Action::Volumes if !json => show(&client()?, "/v1/status", json, show::volumes).await,
        Action::Volumes => show(&client()?, "/v1/volumes", json, |_: &Vec<VolumeStatus>| String::new()).await,
        Action::Explain { named, what_if } => {
            let asked = what_if.map(|what| format!("?what-if={}", word(WhatIf::from(what)))).unwrap_or_default();
            let path = format!("/v1/groups/{}/explain{asked}", segment(&named.name));
            show(&client()?, &path, json, |told: &Explanation| told.text.join("\n") + "\n").await
        }
        Action::Order(order) => obey(&client()?, order, json).await,
        Action::Verify { named, repair, rate, stop } => {
            let command = match stop {
                true => Command::StopVerify,
                false => Command::Verify { repair: *repair, rate: *rate },
            };
            let path = format!("/v1/groups/{}", segment(&named.name));
            return verify::verify(&client()?, &path, command, json).await.map_err(ended);
        }
        Action::Resolve { named, keep } => {
            return settle(&client()?, named, keep, json).await.map(|()| ExitCode::SUCCESS);
        }
        Action::Secret(SecretAction::New { file }) => return new_secret(file, json).map(|()| ExitCode::SUCCESS),
        Action::Bench(asked) => return bench::bench(asked, json),
        Action::Undo(action) => return undo(action, &arguments.place, json).await,
        Action::Snapshot(action) => return snapshot(action, &arguments.place, json).await,
        Action::Metadata(MetadataAction::Show { group, state_dir, regions, writes }) => {
            let listed = Listed { regions: *regions, writes: *writes };
            return show_metadata(&place_of_state(state_dir, &arguments.place)?, group.as_deref(), listed, json);
        }
    }
    .map(|()| ExitCode::SUCCESS)
    .map_err(ended)
}

async fn show<T: Serialize + DeserializeOwned>(
    client: &Client,
    path: &str,
    json: bool,
    text: impl FnOnce(&T) -> String,
) -> Result<(), ClientError> {
    let answer: T = client.get(path).await?;
    match json {
        true => say_json(&answer),
        false => say(&text(&answer)),
    }
    Ok(())
}

async fn obey(client: &Client, order: &Order, json: bool) -> Result<(), ClientError> {
    let (name, command) = order.command();
    let path = format!("/v1/groups/{}", segment(name));
    let order_path = format!("{path}/command");
    let command = client.post(&order_path, &command);
    let done: Done = if json || !io::stderr().is_terminal() {
        command.await?
    } else {
        let waiting = watch::Waiting::new(order.verb(), name);
        tokio::select! {
            done = command => done?,
            never = waiting.look(client, &path) => match never {},
        }
    };
    if json {
        say_json(&done);
        return Ok(());
    }
    for remark in &done.remarks {
        say(&format!("{remark}\n"));
    }
    // It is done; that it can't be asked how things stand does not change that.
    let group = client.get::<GroupReport>(&path).await;
    let node = client.get::<NodeStatus>("/v1/status").await;
    if let (Ok(group), Ok(node)) = (group, node) {
        say(&format!("{}\n", show::outcome(&node.about.node, &group)));
        show::kept_aside(&group).iter().for_each(|note| say(&format!("{note}\n")));
    }
    Ok(())
}

/// What is lost is told before it is.
async fn settle(client: &Client, named: &Named, keep: &str, json: bool) -> Result<(), Ended> {
    let path = format!("/v1/groups/{}", segment(&named.name));
    let group: GroupReport = client.get(&path).await.map_err(ended)?;
    let node: NodeStatus = client.get("/v1/status").await.map_err(ended)?;
    let resolution = resolve::resolve(&node.about.node, &group, keep)?;
    if !json {
        say(&format!("{}\n", resolution.text));
    }
    let mut done = None;
    if resolution.gives_way {
        let answer: Done = client.post(&format!("{path}/command"), &Command::GiveWay).await.map_err(ended)?;
        if !json {
            answer.remarks.iter().for_each(|remark| say(&format!("{remark}\n")));
            if let Ok(group) = client.get::<GroupReport>(&path).await {
                say(&format!("{}\n", show::outcome(&node.about.node, &group)));
            }
        }
        done = Some(answer);
    }
    if json {
        say_json(&resolve::Told { resolution, remarks: done.map(|done| done.remarks) });
    }
    Ok(())
}

fn new_secret(file: &Path, json: bool) -> Result<(), Ended> {
    secret::create(file).map_err(|failure| (failure, EXIT_FAILED))?;
    match json {
        true => say_json(&serde_json::json!({ "file": file })),
        false => say(&format!("{} holds a new secret; the peer needs a copy of it (mode 0600)\n", file.display())),
    }
    Ok(())
}

/// What is damaged is told after what could be read.
fn show_metadata(state_dir: &Path, group: Option<&str>, listed: Listed, json: bool) -> Result<ExitCode, Ended> {
    let groups = match group {
        Some(group) => dump::one(state_dir, group, listed).map(|group| vec![group]),
        None => dump::all(state_dir, listed),
    };
    let groups = groups.map_err(|fault| (Failure::new(fault.error, fault.remedy), EXIT_FAILED))?;
    match json {
        true => say_json(&groups),
        false => say(&metadata::show(state_dir, &groups)),
    }
    let faults: Vec<_> = groups.into_iter().flat_map(|group| group.faults).collect();
    if faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for fault in faults.into_iter().filter(|_| !json) {
        drop(writeln!(io::stderr(), "{}", Failure::new(fault.error, fault.remedy)));
    }
    Ok(ExitCode::from(EXIT_FAILED))
}

async fn undo(action: &UndoAction, place: &Place, json: bool) -> Result<ExitCode, Ended> {
    let (UndoAction::List { kept }
    | UndoAction::Diff { kept, .. }
    | UndoAction::Export { kept, .. }
    | UndoAction::Drop { kept, .. }) = action;
    let found = undo_place(kept, place).await?;
    let name = |store: &arguments::StoreName| store.store.clone();
    let (done, what) = match action {
        UndoAction::List { .. } => {
            let (listed, faults) = undo::list(&found)?;
            match json {
                true => say_json(&listed),
                false => say(&undo::show(&listed)),
            }
            faults.iter().for_each(|fault| drop(writeln!(io::stderr(), "{fault}")));
            return Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) });
        }
        UndoAction::Diff { store, against: Some(file), .. } => {
            (undo::diff(&found, name(store).as_deref(), file)?, "BYTES are not what they are now")
        }
        UndoAction::Diff { store, against: None, .. } => {
            let file = store_of(&kept.named.name, place).await?;
            (undo::diff(&found, name(store).as_deref(), &file)?, "BYTES are not what they are now")
        }
        UndoAction::Export { store, to, .. } => {
            (undo::export(&found, name(store).as_deref(), to)?, "BYTES exported; FILE.json says where they lie")
        }
        UndoAction::Drop { store, .. } => (undo::drop_one(&found, name(store).as_deref())?, "BYTES dropped"),
    };
    match json {
        true => say_json(&done),
        false => say(&undo::told(&done, what)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn snapshot(action: &SnapshotAction, place: &Place, json: bool) -> Result<ExitCode, Ended> {
    let (SnapshotAction::List { kept } | SnapshotAction::Restore { kept } | SnapshotAction::Drop { kept }) = action;
    let directory = undo_place(kept, place).await?.directory;
    let found = match action {
        SnapshotAction::List { .. } => snapshot::list(&directory)?,
        SnapshotAction::Restore { .. } => Some(snapshot::restore(&directory)?),
        SnapshotAction::Drop { .. } => snapshot::drop_it(&directory)?,
    };
    if json {
        say_json(&found);
        return Ok(ExitCode::SUCCESS);
    }
    say(&match (action, &found) {
        (SnapshotAction::Restore { .. }, Some(found)) => snapshot::restored(found, &kept.named.name),
        (SnapshotAction::Drop { .. }, Some(found)) => snapshot::dropped(found),
        (_, found) => snapshot::show(found.as_ref()),
    });
    Ok(ExitCode::SUCCESS)
}

/// As the running target says, unless a state_dir is named.
async fn undo_place(kept: &Kept, place: &Place) -> Result<undo::Place, Ended> {
    let name = kept.named.name.clone();
    if kept.state_dir.is_some() || place.config.is_some() {
        let state_dir = place_of_state(&kept.state_dir, place)?;
        let directory = dump::directory_of(&state_dir, &name);
        let directory = directory.map_err(|fault| (Failure::new(fault.error, fault.remedy), EXIT_FAILED))?;
        return Ok(undo::Place { directory, name });
    }
    let client = Client::new(socket(place)?);
    let group: GroupReport = client.get(&format!("/v1/groups/{}", segment(&name))).await.map_err(ended)?;
    let Some(directory) = group.status.aside.directory else {
        let error = "the target does not say where it keeps them";
        return Err((Failure::new(error, "name its state_dir with --state-dir DIR"), EXIT_FAILED));
    };
    Ok(undo::Place { directory, name })
}

/// The file or device that a volume of the running target lies in.
async fn store_of(name: &str, place: &Place) -> Result<PathBuf, Ended> {
    let client = Client::new(socket(place)?);
    let node: NodeStatus = client.get("/v1/status").await.map_err(ended)?;
    let of_group = node.groups.iter().find(|group| group.name == name).filter(|group| group.volumes.len() == 1);
    let volume = of_group.map_or(name, |group| &group.volumes[0]);
    let store = node.volumes.iter().find(|found| found.name == volume).map(|found| found.store.as_str());
    let path = store.and_then(|store| store.strip_prefix("file ").or(store.strip_prefix("device ")));
    path.map(PathBuf::from).ok_or_else(|| {
        let error = format!("{name} is no volume in a file or on a device");
        (Failure::new(error, "name a volume, or what to compare with: --against FILE"), EXIT_FAILED)
    })
}

fn place_of_state(state_dir: &Option<PathBuf>, place: &Place) -> Result<PathBuf, Ended> {
    match (state_dir, &place.config) {
        (Some(directory), _) => Ok(directory.clone()),
        (None, Some(file)) => config::state_dir(file).map_err(|fault| in_file(file, fault)),
        (None, None) => {
            let remedy = "name it with --state-dir DIR, or the target's file with -c target.yaml";
            Err((Failure::new("it is not known where the target's state_dir is", remedy), EXIT_USAGE))
        }
    }
}

fn socket(place: &Place) -> Result<PathBuf, Ended> {
    if let Some(socket) = &place.socket {
        return Ok(socket.clone());
    }
    match &place.config {
        Some(file) => config::admin_socket(file).map_err(|fault| in_file(file, fault)),
        None => Ok(PathBuf::from(DEFAULT_SOCKET)),
    }
}

fn in_file(file: &Path, fault: config::Fault) -> Ended {
    // As the target itself would say it, without the remedy.
    let told = fault.to_string();
    let fault_line = told.lines().next().unwrap_or_default();
    (Failure::new(format!("{}:{fault_line}", file.display()), fault.remedy), EXIT_USAGE)
}

/// A name as a part of a path.
fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn ended(error: ClientError) -> Ended {
    let status = match &error {
        ClientError::Unreachable { .. } => EXIT_UNREACHABLE,
        ClientError::Refused(_) | ClientError::Garbled { .. } => EXIT_FAILED,
    };
    (failure(&error), status)
}

fn failure(error: &ClientError) -> Failure {
    match error {
        ClientError::Refused(failure) => failure.clone(),
        ClientError::Unreachable { socket, source } => Failure::new(
            format!("lunmirror-target cannot be reached at {}: {source}", socket.display()),
            match source.kind() {
                io::ErrorKind::PermissionDenied => "ask as root, or as the user that it runs as",
                _ => "is it running? is this its admin.socket? name another with --socket PATH or -c target.yaml",
            },
        ),
        ClientError::Garbled { socket, cause } => Failure::new(
            format!("what answers at {} is not understood: {cause}", socket.display()),
            "use the lunmirrorctl that came with the target, on the target's admin.socket",
        ),
    }
}

fn fail(failure: &Failure, status: u8, json: bool) -> ExitCode {
    match json {
        true => say_json(failure),
        // Nobody listening is no reason to fail in another way.
        false => drop(writeln!(io::stderr(), "{failure}")),
    }
    ExitCode::from(status)
}

fn say_json(answer: &impl Serialize) {
    let text = serde_json::to_string_pretty(answer).expect("answers have no maps with keys that are no strings");
    say(&format!("{text}\n"));
}

/// For programs that read one answer after the other.
fn say_json_line(answer: &impl Serialize) {
    let text = serde_json::to_string(answer).expect("answers have no maps with keys that are no strings");
    say(&format!("{text}\n"));
}

/// Whoever reads may have read enough: then there is nothing more to do.
fn say(text: &str) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(0);
    }
}

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_UNREACHABLE: u8 = 3;
