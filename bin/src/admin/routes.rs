//! Requests and what answers them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use lunmirror::api::{
    self, Command, DiskState, Explanation, Failure, GroupReport, NodeStatus, REQUEST_BYTES_MAX, WhatIf,
};
use serde::{Deserialize, Serialize};
use target_core::mirror::Refusal;
use tokio::time::timeout;

use super::Target;
use super::door::Caller;
use super::explain::explain;

/// What a door is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    Reading,
    Everything,
}

type Shared = State<Arc<dyn Target>>;

pub fn router(target: Arc<dyn Target>, rights: Rights) -> Router {
    let reading = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/peers", get(async |State(target): Shared| Json(target.peers())))
        .route("/v1/volumes", get(async |State(target): Shared| Json(target.volumes())))
        .route("/v1/groups/{name}", get(group))
        .route("/v1/groups/{name}/explain", get(explained));
    let all = match rights {
        Rights::Reading => reading.route("/v1/groups/{name}/command", post(reading_only)),
        Rights::Everything => reading.route("/v1/groups/{name}/command", post(command)),
    };
    all.method_not_allowed_fallback(no_such_method).fallback(no_such_path).with_state(target)
}

async fn status(State(target): Shared) -> Json<NodeStatus> {
    Json(NodeStatus {
        about: target.about(),
        peers: target.peers(),
        groups: target.groups(),
        volumes: target.volumes(),
    })
}

async fn group(State(target): Shared, Path(name): Path<String>) -> Result<Json<GroupReport>, Refused> {
    find(&*target, &name).map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Asked {
    what_if: Option<WhatIf>,
}

async fn explained(
    State(target): Shared,
    Path(name): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Explanation>, Refused> {
    let Query(asked) = asked.map_err(|error| {
        let failure = Failure::new(error.body_text(), "ask what-if=cut, what-if=promote or what-if=rejoin");
        Refused(StatusCode::BAD_REQUEST, failure)
    })?;
    let group = find(&*target, &name)?;
    if let Some(what) = asked.what_if {
        let text = target.what_if(&group.name, what).ok_or_else(|| no_such_group(&*target, &name))?;
        return Ok(Json(Explanation { group: group.name, text }));
    }
    let peer = target.peers().into_iter().find(|peer| peer.name == group.peer);
    let text = explain(&target.about().node, &group, peer.as_ref());
    Ok(Json(Explanation { group: group.name, text }))
}

async fn command(
    State(target): Shared,
    Path(name): Path<String>,
    Extension(Caller(caller)): Extension<Caller>,
    body: Body,
) -> Result<Response, Refused> {
    let group = find(&*target, &name)?;
    let command = read_command(body).await?;
    tracing::info!(group = group.name, ?command, caller, "the operator commands");
    let Some(answer) = target.command(&group.name, command) else {
        return Err(no_such_group(&*target, &name));
    };
    match timeout(COMMAND_PATIENCE, answer).await {
        Ok(Ok(done)) => {
            tracing::info!(group = group.name, ?command, remarks = ?done.remarks, "the command is done");
            Ok(json(StatusCode::OK, &done))
        }
        Ok(Err(refusal)) => {
            tracing::warn!(group = group.name, ?command, %refusal, "the command is refused");
            Err(Refused(StatusCode::CONFLICT, Failure::new(refusal.to_string(), remedy(&refusal, &group))))
        }
        Err(_) => Err(Refused(
            StatusCode::GATEWAY_TIMEOUT,
            Failure::new("it goes on, but nobody waits for it any longer", "see lunmirrorctl status"),
        )),
    }
}

async fn reading_only() -> Refused {
    let failure = Failure::new("nothing is commanded here", "use lunmirrorctl, or POST to admin.socket");
    Refused(StatusCode::FORBIDDEN, failure)
}

async fn read_command(body: Body) -> Result<Command, Refused> {
    let bad =
        |status, error: String| Refused(status, Failure::new(error, "see the list of commands: lunmirrorctl help"));
    let body = match timeout(BODY_PATIENCE, axum::body::to_bytes(body, REQUEST_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => {
            return Err(bad(StatusCode::PAYLOAD_TOO_LARGE, format!("the request cannot be taken: {error}")));
        }
        Err(_) => return Err(bad(StatusCode::REQUEST_TIMEOUT, "the request did not come in time".into())),
    };
    match serde_json::from_slice(&body) {
        Ok(Command::Shutdown) => {
            let failure = Failure::new("a group ends with the target only", "end the process: kill -TERM");
            Err(Refused(StatusCode::BAD_REQUEST, failure))
        }
        Ok(command) => match api::check(&command) {
            Ok(()) => Ok(command),
            Err(failure) => Err(Refused(StatusCode::BAD_REQUEST, failure)),
        },
        Err(error) => Err(bad(StatusCode::BAD_REQUEST, format!("this is no command: {error}"))),
    }
}

/// The group of that name, or the group of the volume of that name.
fn find(target: &dyn Target, name: &str) -> Result<GroupReport, Refused> {
    let groups = target.groups();
    let is_its = |group: &GroupReport| group.volumes.iter().any(|volume| volume == name);
    let found = groups.iter().find(|group| group.name == name).or(groups.iter().find(|group| is_its(group)));
    found.cloned().ok_or_else(|| no_such_group(target, name))
}

fn no_such_group(target: &dyn Target, name: &str) -> Refused {
    let error = match target.volumes().iter().any(|volume| volume.name == name) {
        true => format!("volume {name} is not mirrored"),
        false => format!("there is no volume nor group {name}"),
    };
    let mirrored: Vec<String> = target.groups().into_iter().flat_map(|group| group.volumes).collect();
    let remedy = match mirrored.is_empty() {
        true => "no volume is mirrored here: see mirror in conf/full.yaml".to_owned(),
        false => format!("name one of the mirrored volumes: {}", mirrored.join(", ")),
    };
    Refused(StatusCode::NOT_FOUND, Failure::new(error, remedy))
}

/// What the operator can do about it.
fn remedy(refusal: &Refusal, group: &GroupReport) -> String {
    let GroupReport { name, peer, .. } = group;
    match refusal {
        Refusal::Disk(DiskState::Failed, _) => {
            format!("mend its device, then lunmirrorctl reattach {name}, and wait for the resync from {peer}")
        }
        Refusal::Disk(..) => format!(
            "wait for the resync from {peer}; if {peer} is lost and this copy must do: lunmirrorctl promote {name} --force"
        ),
        Refusal::PeerIsPrimary(node) => format!("on {node}: lunmirrorctl demote {name}"),
        Refusal::PeerClaimsPrimary(node) => format!(
            "on {node}: lunmirrorctl demote {name}; or, if its copy is to be given up, end it there and promote with --force \
             here"
        ),
        Refusal::Busy => format!("wait for it; lunmirrorctl explain {name} says how things stand"),
        Refusal::Store => "make room in state_dir and look at its disk".to_owned(),
        Refusal::Other(_) => format!("lunmirrorctl explain {name} says how things stand"),
    }
}

async fn no_such_method(method: Method, uri: Uri) -> Refused {
    let error = format!("{method} is not answered at {}", uri.path());
    Refused(StatusCode::METHOD_NOT_ALLOWED, Failure::new(error, REMEDY_REQUEST))
}

async fn no_such_path(uri: Uri) -> Refused {
    Refused(StatusCode::NOT_FOUND, Failure::new(format!("there is no {}", uri.path()), REMEDY_REQUEST))
}

struct Refused(StatusCode, Failure);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        json(self.0, &self.1)
    }
}

fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    (status, Json(answer)).into_response()
}

const REMEDY_REQUEST: &str = "GET /v1/status, /v1/peers, /v1/volumes, /v1/groups/NAME, /v1/groups/NAME/explain; on admin.socket also POST \
     /v1/groups/NAME/command";

/// The body of a request.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// A demotion waits until all that is queued is with the peer.
pub const COMMAND_PATIENCE: Duration = Duration::from_secs(60 * 60);
