//! `serve --listen`: the daemon's API over TCP with TLS, for clients with a token.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use vsiflow_api::{Api, Certificate, Clients, REMOTE, Security, acceptor};

use crate::{
    args::ListenArgs,
    exit::{Exit, ExitProblem},
    output, work,
};

/// The path of the generated certificate in the state directory.
const CERTIFICATE: &str = "tls/daemon.pem";
/// The name in the certificate. Clients identify the daemon by the fingerprint, not by this name.
const NAME: &str = "vsiflow";

/// Serves the API if requested; returns only on failure. The certificate is generated in `state`.
pub(crate) async fn serve(api: &Api, state: &Path, args: &ListenArgs) -> ExitProblem {
    let Some(address) = args.listen else {
        return std::future::pending().await;
    };
    match serve_at(api, state, args, address).await {
        Ok(never) => match never {},
        Err(problem) => problem,
    }
}

/// The error for an address that cannot be listened on.
pub(crate) fn deaf(address: SocketAddr, why: Option<io::Error>, option: &str) -> ExitProblem {
    let why = why.map(|error| error.to_string()).unwrap_or_default();
    let message = format!("nothing can be answered at {address}: {why}");
    let remedy = format!("name another {option}, or end the process that uses it");
    ExitProblem::new(Exit::Failed, "VSI0807", message, &remedy)
}

async fn serve_at(
    api: &Api,
    state: &Path,
    args: &ListenArgs,
    address: SocketAddr,
) -> Result<std::convert::Infallible, ExitProblem> {
    let certificate = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            certificate_from_files(certificate.clone(), key.clone()).await?
        }
        _ => made(state).await?,
    };
    let acceptor = acceptor(&certificate, Clients::Anybody).map_err(|error| unusable(&error))?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|why| deaf(address, Some(why), "--listen"))?;
    let address = listener.local_addr().unwrap_or(address);
    output::note(&format!("answering for tokens at {address}"));
    let security = Security::Tls(Arc::new(move || Some(acceptor.clone())));
    let service = TowerToHyperService::new(api.token_service());
    Ok(vsiflow_api::serve(listener, security, service, REMOTE).await)
}

/// The certificate (DER) of a daemon of this directory: the given one, or its own.
pub(crate) async fn certificate_shown(
    state: &Path,
    path: Option<&Path>,
) -> Result<Vec<u8>, ExitProblem> {
    match path {
        None => Ok(made(state).await?.leaf().to_vec()),
        Some(file) => {
            let file = file.to_owned();
            let read = work::off_runtime(move || Certificate::leaf_of(&file)).await?;
            read.map_err(|error| unusable(&error))
        }
    }
}

async fn made(state: &Path) -> Result<Certificate, ExitProblem> {
    let path = state.join(CERTIFICATE);
    let stored = work::off_runtime(move || Certificate::stored(&path, &[NAME.to_owned()])).await?;
    stored.map_err(|error| {
        let remedy = "see that the state directory has room and can be written and read";
        ExitProblem::new(Exit::Failed, "VSI0006", error.to_string(), remedy)
    })
}

async fn certificate_from_files(
    certificate: PathBuf,
    key: PathBuf,
) -> Result<Certificate, ExitProblem> {
    let read = work::off_runtime(move || Certificate::from_files(&certificate, &key)).await?;
    read.map_err(|error| unusable(&error))
}

fn unusable(error: &dyn std::fmt::Display) -> ExitProblem {
    let message = format!("the certificate cannot be used: {error}");
    let remedy = "give --tls-cert and --tls-key a chain and its key in PEM";
    ExitProblem::new(Exit::Failed, "VSI0030", message, remedy)
}
