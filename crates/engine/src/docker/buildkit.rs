//! BuildKit's session: a connection to the engine over which it asks us for secrets, credentials and
//! signatures of SSH keys while a build runs. We are the server, in gRPC.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use bollard_buildkit_proto::{
    health::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_check_response::ServingStatus,
        health_server::{Health, HealthServer},
    },
    moby::{
        buildkit::secrets::v1::{
            GetSecretRequest, GetSecretResponse,
            secrets_server::{Secrets as SecretsService, SecretsServer},
        },
        filesync::v1::{
            CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
            GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
            VerifyTokenAuthorityResponse,
            auth_server::{Auth, AuthServer},
        },
        sshforward::v1::{
            BytesMessage, CheckAgentRequest, CheckAgentResponse,
            ssh_server::{Ssh, SshServer},
        },
    },
};
use bytes::Bytes;
use futures_core::stream::BoxStream;
use http_body_util::Empty;
use hyper::{
    Request as HttpRequest,
    header::{CONNECTION, UPGRADE},
    server::conn::http2,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use ocicore::Digest;
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status, Streaming, async_trait, service::Routes};

use super::{Docker, fault::Deed, ssh_agent};
use crate::{
    Result,
    log::Tail,
    spec::{BuildSpec, Credentials, Keychain, Secrets, SshAgent},
};

/// What BuildKit may call. It asks nothing that is not announced.
const SECRETS: &[&str] = &["/moby.buildkit.secrets.v1.Secrets/GetSecret"];
const SSH: &[&str] = &[
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
];
const AUTH: &[&str] = &["/moby.filesync.v1.Auth/Credentials"];

/// A session; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Session {
    id: String,
    serving: JoinHandle<()>,
}

impl Session {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Docker {
    pub(super) async fn session(&self, spec: &BuildSpec) -> Result<Session> {
        let deed = Deed::new("open a session with", "engine", self.endpoint());
        let id = new_id();
        let mut request = HttpRequest::post("/session")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "h2c")
            .header("X-Docker-Expose-Session-Uuid", &id)
            .header("X-Docker-Expose-Session-Name", "gantry")
            .header("X-Docker-Expose-Session-Sharedkey", "");
        for method in [SECRETS, SSH, AUTH].concat() {
            request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| deed.garbled(error))?;
        let answer = self.http().ask(request).await;
        let answer = answer.map_err(|failure| deed.failed(failure))?;
        let connection = hyper::upgrade::on(answer)
            .await
            .map_err(|error| deed.vanished(Tail::default(), Some(error.into())))?;
        let services = Routes::new(HealthServer::new(Healthy))
            .add_service(SecretsServer::new(GiveSecrets(spec.secrets.clone())))
            .add_service(SshServer::new(ForwardAgents(spec.ssh.clone())))
            .add_service(AuthServer::new(GiveCredentials(spec.keychain.clone())));
        let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(
            TokioIo::new(TokioIo::new(connection)),
            TowerToHyperService::new(services.prepare()),
        );
        let serving = tokio::spawn(async move {
            if let Err(error) = serving.await {
                // The build fails with a better message, if it still needs the session.
                tracing::debug!(%error, "session with BuildKit");
            }
        });
        Ok(Session { id, serving })
    }
}

/// Nobody else's: of the process, the time and a count.
fn new_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let seed = format!("{} {:?} {n}", std::process::id(), SystemTime::now());
    let mut id = Digest::of(seed.as_bytes()).hex();
    id.truncate(32);
    id
}

/// BuildKit asks now and then whether we are still there.
struct Healthy;

#[async_trait]
impl Health for Healthy {
    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = ServingStatus::Serving.into();
        Ok(Response::new(HealthCheckResponse { status }))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("`check` is enough"))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("`check` is enough"))
    }
}

struct GiveSecrets(Secrets);

#[async_trait]
impl SecretsService for GiveSecrets {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = &request.get_ref().id;
        match self.0.get(id) {
            Some(secret) => Ok(Response::new(GetSecretResponse {
                data: secret.reveal().to_vec(),
            })),
            // BuildKit then goes on without, unless the mount says `required`.
            None => Err(Status::not_found(format!("no secret `{id}`"))),
        }
    }
}

struct GiveCredentials(Keychain);

#[async_trait]
impl Auth for GiveCredentials {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = match request.get_ref().host.as_str() {
            "registry-1.docker.io" | "https://index.docker.io/v1/" => "docker.io",
            host => host,
        };
        Ok(Response::new(match self.0.find(host) {
            None => CredentialsResponse::default(),
            Some(Credentials::Password { user, password }) => CredentialsResponse {
                username: user.clone(),
                secret: password.clone(),
            },
            Some(Credentials::IdentityToken(token)) => CredentialsResponse {
                username: String::new(),
                secret: token.clone(),
            },
        }))
    }

    // Only announced methods are called: BuildKit fetches tokens by itself, with the credentials.

    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("only credentials are given"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("only credentials are given"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("only credentials are given"))
    }
}

struct ForwardAgents(Vec<SshAgent>);

impl ForwardAgents {
    fn socket(&self, id: &str) -> Result<PathBuf, Status> {
        let id = if id.is_empty() { "default" } else { id };
        let agent = self.0.iter().find(|agent| agent.id() == id);
        agent
            .map(|agent| agent.socket().to_owned())
            .ok_or_else(|| Status::not_found(format!("no SSH agent `{id}`")))
    }
}

#[async_trait]
impl Ssh for ForwardAgents {
    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        self.socket(&request.get_ref().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    type ForwardAgentStream = BoxStream<'static, Result<BytesMessage, Status>>;

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = request.metadata().get("buildkit.ssh.id");
        let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
        let socket = self.socket(id)?;
        let answers = ssh_agent::forward(&socket, request.into_inner()).await?;
        Ok(Response::new(answers))
    }
}
