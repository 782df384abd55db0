//! Uploads a local file into the cluster, as the user of the plugin.

use http::Request;
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use vsiflow_workflows::spec::upload_url;

use super::{ActionFailure, Cluster, PluginError, UploadPiece, UploadReader};
use crate::subresources::{Announcement, GROUP, VERSION};

/// The maximum length of an answer, in bytes.
const MAX_LEN: usize = 1024 * 1024;

/// A local file to upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    /// The name under which it is uploaded.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256: 64 hexadecimal digits in lower case.
    pub sha256: String,
    /// The `imageChecksum` of the image in it; none if the image may have any checksum.
    pub checksum: Option<String>,
}

/// The hosts that read an uploaded file, and the state of its images.
#[derive(Clone, Debug, Deserialize)]
pub struct UploadStatus {
    /// The hosts that read it now.
    pub readers: Vec<UploadReader>,
    /// The images that documents need from it.
    pub images: Vec<UploadedImage>,
    /// For how many seconds no host reads it, because its readers were sent nothing.
    #[serde(default, rename = "pauseSeconds")]
    pub pause_seconds: u64,
}

/// An image on a pool.
#[derive(Clone, Debug, Deserialize)]
pub struct UploadedImage {
    /// The host's id.
    pub host: String,
    /// The pool.
    pub pool: String,
    /// The checksum that documents name, `sha256:…`.
    pub checksum: Option<String>,
    /// The SHA-256 of the image on the host, if it has one.
    pub sha256: Option<String>,
    /// Whether it is on the host and verified.
    pub ready: bool,
    /// Why it is not.
    pub failure: Option<ActionFailure>,
}

/// The answer to one piece.
#[derive(Deserialize)]
struct PieceReply {
    next: Option<u64>,
}

impl Cluster {
    /// The URL by which documents of the namespace refer to a file that is uploaded under this name.
    pub fn upload_url(&self, name: &str) -> String {
        upload_url(&self.namespace, name)
    }

    /// Announces the file. Returns its readers once a host reads it, or after `wait_seconds`. With
    /// `retry`, what failed with this file before is retried.
    ///
    /// # Errors
    /// If this user may not, another file is uploaded under the name, or no process answers.
    pub async fn announce(
        &self,
        file: &LocalFile,
        retry: bool,
        wait_seconds: u64,
    ) -> Result<UploadStatus, PluginError> {
        let announcement = Announcement {
            length: file.length,
            sha256: file.sha256.clone(),
            checksum: file.checksum.clone(),
            retry,
            wait_seconds,
        };
        let body = serde_json::to_vec(&announcement);
        let body = body.map_err(|error| self.odd(&self.image(file), &error.to_string()))?;
        let request = Request::post(self.upload_path(&file.name))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(body));
        self.answer_of(file, request).await
    }

    /// Sends a reader the next piece. Returns the position after it, or none if an announcement must
    /// find out what the reader needs.
    ///
    /// # Errors
    /// If this user may not, another file is uploaded under the name, or no process answers. A part of
    /// the piece may have arrived then.
    pub async fn send(
        &self,
        file: &LocalFile,
        to: UploadReader,
        piece: UploadPiece,
    ) -> Result<Option<u64>, PluginError> {
        let mut path = format!(
            "{}?length={}&sha256={}&reader={}&from={}",
            self.upload_path(&file.name),
            file.length,
            file.sha256,
            to.id,
            to.from
        );
        let body = match piece {
            UploadPiece::Data(bytes) => Body::from(bytes),
            UploadPiece::Zeros(zeros) => {
                path.push_str(&format!("&zeros={zeros}"));
                Body::empty()
            }
        };
        let request = Request::put(path)
            .header(http::header::CONTENT_TYPE, "application/octet-stream")
            .body(body);
        let taken: PieceReply = self.answer_of(file, request).await?;
        Ok(taken.next)
    }

    async fn answer_of<T: DeserializeOwned>(
        &self,
        file: &LocalFile,
        request: http::Result<Request<Body>>,
    ) -> Result<T, PluginError> {
        let what = self.image(file);
        let response = self.ask(&what, request).await?;
        let body = Limited::new(response.into_body(), MAX_LEN).collect().await;
        let body = body.map_err(|error| self.odd(&what, &error.to_string()))?;
        let read = serde_json::from_slice(&body.to_bytes());
        read.map_err(|error| self.odd(&what, &error.to_string()))
    }

    fn image(&self, file: &LocalFile) -> String {
        format!("image/{} in the namespace {}", file.name, self.namespace)
    }

    fn upload_path(&self, name: &str) -> String {
        let namespace = &self.namespace;
        format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/images/{name}/upload")
    }
}
