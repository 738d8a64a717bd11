//! Requests over real sockets, to a target that remembers what it was told.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lunmirror::api::client::{Client, ClientError};
use lunmirror::api::{Explanation, NodeStatus};
use parking_lot::Mutex;
use target_core::target::config::{Mode, NodeName};
use tempfile::TempDir;

use super::*;
use crate::testing;

#[derive(Default)]
struct Fake {
    told: Mutex<Vec<(String, Command)>>,
    refusal: Mutex<Option<Refusal>>,
}

impl Target for Fake {
    fn about(&self) -> About {
        testing::about()
    }

    fn peers(&self) -> Vec<PeerStatus> {
        vec![testing::peer()]
    }

    fn groups(&self) -> Vec<GroupReport> {
        let dbs = GroupReport { name: "dbs".into(), volumes: vec!["data".into(), "log".into()], ..testing::group() };
        vec![testing::group(), dbs]
    }

    fn volumes(&self) -> Vec<VolumeStatus> {
        vec![testing::volume(), testing::scratch()]
    }

    fn what_if(&self, group: &str, what: WhatIf) -> Option<Vec<String>> {
        Some(vec![format!("{group} after {what:?}")])
    }

    fn command(&self, group: &str, command: Command) -> Option<Answer> {
        self.told.lock().push((group.to_owned(), command));
        let answer = match self.refusal.lock().clone() {
            Some(refusal) => Err(refusal),
            None => Ok(Done { remarks: vec!["3 writes were dropped".into()] }),
        };
        Some(Box::pin(async { answer }))
    }
}

/// The interface on a socket in a directory of its own.
struct Open {
    directory: TempDir,
    fake: Arc<Fake>,
    target: Arc<dyn Target>,
    admin: Admin,
}

impl Open {
    fn new() -> Open {
        let directory = tempfile::tempdir().expect("a directory");
        let fake = Arc::new(Fake::default());
        let target: Arc<dyn Target> = Arc::clone(&fake) as Arc<dyn Target>;
        let wanted = config::Admin { socket: Some(directory.path().join("run/admin.sock")), http: None };
        let admin = Admin::default().changed(&wanted, &target).expect("nothing is in the way");
        Open { directory, fake, target, admin }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("run/admin.sock")
    }

    fn client(&self) -> Client {
        Client::new(self.socket())
    }

    /// As `curl` would, whatever it says.
    async fn raw(&self, request: &str) -> String {
        let (socket, request) = (self.socket(), request.to_owned());
        tokio::task::spawn_blocking(move || say(UnixStream::connect(socket).expect("it listens"), &request))
            .await
            .expect("it does not panic")
    }
}

fn say(mut stream: impl Read + Write, request: &str) -> String {
    // It may have answered and gone before all was said.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it speaks UTF-8, and ends");
    answer
}

fn failure<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    match answer {
        Err(ClientError::Refused(failure)) => failure.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_asked_is_answered() {
    let open = Open::new();
    let status: NodeStatus = open.client().get("/v1/status").await.expect("answered");
    assert_eq!((status.about, status.groups), (testing::about(), open.fake.groups()));
    let peers: Vec<PeerStatus> = open.client().get("/v1/peers").await.expect("answered");
    assert_eq!(peers, [testing::peer()]);
    let volumes: Vec<VolumeStatus> = open.client().get("/v1/volumes").await.expect("answered");
    assert_eq!(volumes, open.fake.volumes());
    let explanation: Explanation = open.client().get("/v1/groups/dbs/explain").await.expect("answered");
    assert_eq!(explanation.group, "dbs");
    assert!(explanation.text[0].contains("a is Primary of dbs"), "{explanation:?}");
    let explanation: Explanation = open.client().get("/v1/groups/log/explain?what-if=cut").await.expect("answered");
    assert_eq!((&*explanation.group, &*explanation.text[0]), ("dbs", "dbs after Cut"));
    for query in ["what-if=fire", "whatif=cut"] {
        let refused = failure(open.client().get::<Explanation>(&format!("/v1/groups/db/explain?{query}")).await);
        assert!(refused.ends_with("remedy: ask what-if=cut, what-if=promote or what-if=rejoin"), "{refused}");
    }
}

#[tokio::test]
async fn a_group_goes_by_the_names_of_its_volumes() {
    let open = Open::new();
    for name in ["dbs", "data", "log"] {
        let group: GroupReport = open.client().get(&format!("/v1/groups/{name}")).await.expect("answered");
        assert_eq!(group.name, "dbs");
    }
    let missing = |path| async move { failure(Open::new().client().get::<GroupReport>(path).await) };
    assert_eq!(
        missing("/v1/groups/scratch").await,
        "volume scratch is not mirrored\n    remedy: name one of the mirrored volumes: db, data, log"
    );
    assert_eq!(
        missing("/v1/groups/%2e%2e").await,
        "there is no volume nor group ..\n    remedy: name one of the mirrored volumes: db, data, log"
    );
    assert!(missing("/v2/status").await.starts_with("there is no /v2/status\n"));
}

#[tokio::test]
async fn a_command_reaches_its_group() {
    let open = Open::new();
    let verify = Command::Verify { repair: true, rate: Some(1 << 20) };
    for command in [Command::Promote { force: true }, Command::Mode(Mode::Async), Command::Pause, verify] {
        let done: Done = open.client().post("/v1/groups/log/command", &command).await.expect("obeyed");
        assert_eq!(done.remarks, ["3 writes were dropped"]);
    }
    let told = open.fake.told.lock().clone();
    let expected = [Command::Promote { force: true }, Command::Mode(Mode::Async), Command::Pause, verify];
    assert_eq!(told, expected.map(|command| ("dbs".to_owned(), command)));
}

#[tokio::test]
async fn a_refusal_comes_with_a_remedy() {
    let open = Open::new();
    *open.fake.refusal.lock() = Some(Refusal::PeerIsPrimary(NodeName::from("b")));
    let answer = open.client().post::<Done>("/v1/groups/db/command", &Command::Promote { force: false }).await;
    assert_eq!(
        failure(answer),
        "b is Primary and reachable: demote it first\n    remedy: on b: lunmirrorctl demote db"
    );
}

#[tokio::test]
async fn what_is_no_command_is_not_obeyed() {
    let open = Open::new();
    let post = |body: &str| {
        format!("POST /v1/groups/db/command HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    for (request, status, words) in [
        (post("{\"promote\": 5}"), "400", "this is no command"),
        (post("\"shutdown\""), "400", "a group ends with the target only"),
        (post(&format!("\"{}\"", "x".repeat(20_000))), "413", "cannot be taken"),
        (post("\"pause\"").replace("/db/", "/nobody/"), "404", "there is no volume nor group nobody"),
        (post("\"pause\"").replace("POST", "DELETE"), "405", "DELETE is not answered"),
    ] {
        let answer = open.raw(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(words), "{answer}");
        assert!(answer.contains("\"remedy\":"), "{answer}");
    }
    assert_eq!(*open.fake.told.lock(), []);
    let done: Done = open.client().post("/v1/groups/db/command", &Command::Resume).await.expect("obeyed");
    assert_eq!(done.remarks.len(), 1, "it goes on as before");
}

#[tokio::test]
async fn the_port_reads_only() {
    let mut open = Open::new();
    // Whichever is free: another process may take it in between, and then the next is tried.
    let (address, admin) = loop {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it is bound");
        let wanted = config::Admin { socket: None, http: Some(free) };
        if let Ok(admin) = open.admin.changed(&wanted, &open.target) {
            break (free, admin);
        }
    };
    open.admin = admin;
    assert!(!open.socket().exists(), "the changed interface has no socket");
    let ask = |address: SocketAddr, request: &'static str| async move {
        tokio::task::spawn_blocking(move || say(TcpStream::connect(address).expect("it listens"), request))
            .await
            .expect("it does not panic")
    };
    let answer = ask(address, "GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"node\":\"a\""), "{answer}");
    let post = "POST /v1/groups/db/command HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\n\r\n\"pause\"";
    let answer = ask(address, post).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("admin.socket"), "{answer}");
    assert_eq!(*open.fake.told.lock(), []);
}

#[tokio::test]
async fn the_socket_is_its_owners_and_goes_with_the_target() {
    let open = Open::new();
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&open.socket()), 0o600);
    assert_eq!(mode(open.socket().parent().expect("it has one")), 0o700);
    let left: Vec<_> = fs::read_dir(open.socket().parent().expect("it has one")).expect("readable").collect();
    assert_eq!(left.len(), 1, "nothing but the socket: {left:?}");
    let (socket, Open { admin, directory: _directory, .. }) = (open.socket(), open);
    drop(admin);
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_socket_left_behind_gives_way_and_a_live_one_does_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("admin.sock");
    let target: Arc<dyn Target> = Arc::new(Fake::default());
    let wanted = config::Admin { socket: Some(path.clone()), http: None };
    let open = || Admin::default().changed(&wanted, &target);

    drop(UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "its process is gone, the file is not");
    let admin = open().expect("nobody answers there");
    let error = open().expect_err("somebody answers there").to_string();
    assert!(error.contains("another process answers there"), "{error}");

    // Who was put in our place is not removed with us.
    fs::remove_file(&path).expect("removed");
    let _other = UnixListener::bind(&path).expect("bound");
    drop(admin);
    assert!(path.exists());

    fs::remove_file(&path).expect("removed");
    fs::write(&path, "precious").expect("written");
    let error = open().expect_err("it is no socket").to_string();
    assert!(error.contains("is no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("it is still there"), "precious");
}

#[tokio::test]
async fn doors_that_stay_are_not_touched() {
    let open = Open::new();
    let before = fs::metadata(open.socket()).expect("it is there").modified().expect("it has a time");
    let wanted = config::Admin { socket: Some(open.socket()), http: None };
    let again = open.admin.changed(&wanted, &open.target).expect("it is open already");
    drop(open.admin.clone());
    let after = fs::metadata(open.socket()).expect("it is there").modified().expect("it has a time");
    assert_eq!(before, after);
    let _: Vec<PeerStatus> = open.client().get("/v1/peers").await.expect("answered");
    drop(again);
}

#[tokio::test]
async fn a_socket_that_was_removed_comes_back_at_a_reload() {
    let open = Open::new();
    let wanted = config::Admin { socket: Some(open.socket()), http: None };
    fs::remove_file(open.socket()).expect("removed");
    let Open { directory: _directory, admin: former, target, .. } = open;
    let path = wanted.socket.clone().expect("there is one");
    let again = former.changed(&wanted, &target).expect("nothing is in the way");
    drop(former);
    let _: Vec<PeerStatus> = Client::new(&path).get("/v1/peers").await.expect("answered");
    drop(again);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_time_out_of_range_is_no_command() {
    let open = Open::new();
    for time in [Duration::MAX, Duration::from_secs(24 * 60 * 60 + 1), Duration::ZERO] {
        let answer = open.client().post::<Done>("/v1/groups/db/command", &Command::MaxStall(time)).await;
        let error = failure(answer);
        assert!(error.contains("out of range") && error.contains("use 100ms to 1day"), "{error}");
    }
    let fit = Command::MaxStall(Duration::from_secs(2));
    let _: Done = open.client().post("/v1/groups/db/command", &fit).await.expect("obeyed");
    assert_eq!(*open.fake.told.lock(), [("db".to_owned(), fit)]);
}

#[tokio::test]
async fn who_says_nothing_holds_nobody_up() {
    let open = Open::new();
    let silent: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect(open.socket()).expect("it listens")).collect();
    let asked = open.client().get::<Vec<PeerStatus>>("/v1/peers").await;
    assert_eq!(asked.expect("answered").len(), 1);
    drop(silent);
}

#[tokio::test]
async fn nobody_there_is_told_from_a_refusal() {
    let nobody = Client::new("/nonexistent/admin.sock").get::<NodeStatus>("/v1/status").await;
    assert!(matches!(nobody, Err(ClientError::Unreachable { .. })), "{nobody:?}");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.sock");
    let stranger = UnixListener::bind(&path).expect("bound");
    let speaks = std::thread::spawn(move || {
        let (mut stream, _) = stranger.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        let mut some = [0; 64];
        let _ = stream.read(&mut some);
        stream.write_all(b"SSH-2.0-OpenSSH\r\n").expect("sent");
    });
    let garbled = Client::new(&path).get::<NodeStatus>("/v1/status").await;
    assert!(matches!(garbled, Err(ClientError::Garbled { .. })), "{garbled:?}");
    speaks.join().expect("it does not panic");
}

#[test]
fn what_the_service_manager_shows() {
    assert_eq!(in_short(&testing::group()), "db Primary, UpToDate, established");
}
