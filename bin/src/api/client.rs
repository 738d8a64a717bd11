//! One request to the admin socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{ANSWER_BYTES_MAX, Failure};

#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("{}: {source}", socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    /// It was not obeyed.
    #[error("{0}")]
    Refused(Failure),
    /// Somebody is there, and does not speak as we do.
    #[error("{}: {cause}", socket.display())]
    Garbled { socket: PathBuf, cause: String },
}

impl Client {
    pub fn new(socket: impl Into<PathBuf>) -> Client {
        Client { socket: socket.into() }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let asked = self.request(Method::GET, path, Bytes::new());
        timeout(GET_PATIENCE, asked).await.unwrap_or_else(|_| Err(self.garbled("no answer in time")))
    }

    /// Waits for as long as it takes: what is ordered may be.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.garbled(error))?;
        self.request(Method::POST, path, body.into()).await
    }

    async fn request<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::Unreachable { socket: self.socket.clone(), source })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.garbled(error))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "lunmirror")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.garbled(error))?;
        let response = sender.send_request(request).await.map_err(|error| self.garbled(error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        connection.abort();
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => self.garbled("the answer is too long"),
            None => self.garbled(error),
        })?;
        let body = body.to_bytes();
        if !status.is_success() {
            let failure = serde_json::from_slice(&body);
            return Err(failure.map_or_else(|_| self.garbled(status), ClientError::Refused));
        }
        serde_json::from_slice(&body)
            .map_err(|error| self.garbled(format!("the answer is of another version: {error}")))
    }

    fn garbled(&self, cause: impl ToString) -> ClientError {
        ClientError::Garbled { socket: self.socket.clone(), cause: cause.to_string() }
    }
}

/// What only reads is answered at once, or something is wrong.
const GET_PATIENCE: Duration = Duration::from_secs(15);
