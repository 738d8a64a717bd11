//! A listening socket of the admin interface, and its connections.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::routes::COMMAND_PATIENCE;

/// Who asks, for the log.
#[derive(Clone, Debug)]
pub struct Caller(pub String);

/// Why it could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("the admin socket {}: {cause}", path.display())]
    Socket { path: PathBuf, cause: String },
    #[error("the admin interface cannot listen on {address}: {source}; free the port or change admin.http")]
    Http { address: SocketAddr, source: io::Error },
}

/// Open until it is dropped; then connections end too, and the socket's file is gone.
#[derive(Debug)]
pub struct Door {
    at: At,
    accepts: JoinHandle<()>,
}

#[derive(Debug)]
enum At {
    /// With the file's device and inode numbers: another process may have put its own in the place.
    Path {
        path: PathBuf,
        file: (u64, u64),
    },
    Address(SocketAddr),
}

impl Door {
    /// For whoever the process runs as. Within a runtime.
    pub fn socket(path: &Path, router: Router) -> Result<Door, DoorError> {
        let fault = |cause: String| DoorError::Socket { path: path.to_owned(), cause };
        let listener = bind(path).map_err(fault)?;
        let io = |error: io::Error| fault(error.to_string());
        listener.set_nonblocking(true).map_err(io)?;
        let listener = UnixListener::from_std(listener).map_err(io)?;
        let file = identity(path).map_err(io)?;
        let accepts = tokio::spawn(accept(router, async move || {
            let (stream, _) = listener.accept().await?;
            let who = stream.peer_cred()?;
            let caller = match who.pid() {
                Some(process) => format!("user {}, process {process}", who.uid()),
                None => format!("user {}", who.uid()),
            };
            Ok((stream, Caller(caller)))
        }));
        Ok(Door { at: At::Path { path: path.to_owned(), file }, accepts })
    }

    /// For whoever reaches it. Within a runtime.
    pub fn http(address: SocketAddr, router: Router) -> Result<Door, DoorError> {
        let open = || {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listener = open().map_err(|source| DoorError::Http { address, source })?;
        let accepts = tokio::spawn(accept(router, async move || {
            let (stream, from) = listener.accept().await?;
            Ok((stream, Caller(from.to_string())))
        }));
        Ok(Door { at: At::Address(address), accepts })
    }

    /// And whoever connects there comes to us.
    pub fn is_at_path(&self, wanted: &Path) -> bool {
        matches!(&self.at, At::Path { path, file } if path == wanted && identity(path).is_ok_and(|there| there == *file))
    }

    pub fn is_at_address(&self, wanted: SocketAddr) -> bool {
        matches!(self.at, At::Address(address) if address == wanted)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepts.abort();
        if let At::Path { path, file } = &self.at
            && identity(path).is_ok_and(|there| there == *file)
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "the admin socket cannot be removed");
        }
    }
}

/// Bound under a name that nobody knows, given its mode, and only then put in its place: at no moment can others come in.
/// What a process left behind that is gone gives way.
fn bind(path: &Path) -> Result<StdUnixListener, String> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(|error| format!("its directory cannot be made: {error}"))?;
    }
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err("there is a file of that name that is no socket; remove it, or change admin.socket".into());
        }
        Ok(_) if StdUnixStream::connect(path).is_ok() => {
            return Err("another process answers there; end it, or change admin.socket".into());
        }
        _ => (),
    }
    let mut unknown = path.as_os_str().to_owned();
    unknown.push(format!(".{}", std::process::id()));
    let unknown = Path::new(&unknown);
    let make = || {
        match fs::remove_file(unknown) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let listener = StdUnixListener::bind(unknown)?;
        fs::set_permissions(unknown, Permissions::from_mode(0o600))?;
        fs::rename(unknown, path)?;
        Ok(listener)
    };
    make().map_err(|error| format!("it cannot be made: {error}"))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

async fn accept<S>(router: Router, mut next: impl AsyncFnMut() -> io::Result<(S, Caller)>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
        match next().await {
            Ok((stream, caller)) => {
                connections.spawn(serve(stream, router.clone().layer(Extension(caller)), place));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin interface could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One request, and the connection ends.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    place: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(COMMAND_PATIENCE + WRITE_PATIENCE, connection).await {
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the admin interface broke"),
        Err(_) => tracing::debug!("a connection to the admin interface did not take its answer"),
        Ok(Ok(())) => (),
    }
    drop(place);
}

/// At once, for each door: many times what people and their programs need, and few enough to cost nothing.
const CONNECTIONS_MAX: usize = 64;

const HEADER_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes; hyper takes no less than 8 KiB.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// To take an answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// Out of descriptors is not over at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
