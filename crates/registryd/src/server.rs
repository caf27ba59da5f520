use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{body::Body, http::Request};
use futures_util::FutureExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ocicore::{Cx, Repositories};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};

use crate::{
    Auth, Error, Limits, Result, gc,
    links::{Links, Sparse},
    metrics::Metrics,
    patient::Patient,
    proxy::Proxy,
    repositories::ServerRepositories,
    routes::{self, App},
    storage::Storage,
};

/// Bytes that a connection reads ahead at most. Larger chunks save no time, and many uploads at
/// once shall not take much memory.
const BUFFER: usize = 128 << 10;

/// A running server. It stops when dropped, at once; [`Server::shutdown`] lets requests end.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
    collecting: Option<Collecting>,
}

/// Garbage collection of a server. Cancelled when dropped; it then ends in good order, so that
/// another server need not wait until its lease runs out.
#[derive(Debug)]
struct Collecting {
    cx: Cx,
    task: JoinHandle<()>,
}

impl Drop for Collecting {
    fn drop(&mut self) {
        self.cx.cancel();
    }
}

/// Settings of a [`Server`] to be.
#[derive(Debug)]
pub struct Builder {
    storage: Arc<dyn Storage>,
    limits: Limits,
    auth: Auth,
    cx: Cx,
    transport: Transport,
    sparse: Sparse,
    grace: Duration,
    proxy: Proxy,
    collect: Option<(Duration, gc::Options)>,
}

/// What lies between TCP and HTTP.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls(Arc<crate::Tls>),
}

impl Transport {
    /// Scheme of the server's URLs.
    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Plain => "http",
            #[cfg(feature = "tls")]
            Self::Tls(_) => "https",
        }
    }
}

impl Server {
    /// A server of that storage, open to everybody unless told otherwise.
    pub fn builder(storage: impl Storage) -> Builder {
        Builder {
            storage: Arc::new(storage),
            limits: Limits::default(),
            auth: Auth::open(),
            cx: Cx::default(),
            transport: Transport::Plain,
            sparse: Sparse::default(),
            grace: gc::GRACE,
            proxy: Proxy::default(),
            collect: None,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The same repositories without HTTP. The host of a repository's name does not count: a
    /// server is one registry, by whatever name it is called.
    pub fn repositories(&self) -> Arc<dyn Repositories> {
        Arc::new(ServerRepositories {
            links: Arc::clone(&self.app.links),
            host: self.address.to_string(),
        })
    }

    /// Takes no more connections, lets the requests in progress end, and returns when all have.
    /// To give up waiting, drop the future.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(accepting) = self.accepting.take() {
            // It neither panics nor is it aborted before.
            let _ = accepting.await;
        }
        if let Some(mut collecting) = self.collecting.take() {
            collecting.cx.cancel();
            // Nor does this one panic.
            let _ = (&mut collecting.task).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

impl Builder {
    /// With other limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// With users and grants.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// With TLS.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: impl Into<Arc<crate::Tls>>) -> Self {
        self.transport = Transport::Tls(tls.into());
        self
    }

    /// With another way to treat images with missing layers. Indexes may always be sparse.
    pub fn sparse(mut self, sparse: Sparse) -> Self {
        self.sparse = sparse;
        self
    }

    /// With another grace of garbage collection than [`gc::GRACE`]: what a client has just been
    /// told to be there is not removed for that time.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// With a registry that is asked for what is not here. Images of `docker.io` are served under
    /// their own names, those of any other host under names that begin with it; since no name can
    /// hold a colon, those of `localhost:5000` begin with `localhost_5000`. A request may also name
    /// the host as its parameter `ns`, as containerd does. What is pushed here wins.
    ///
    /// # Errors
    /// [`Error::Setting`] if that is no host, or no repository name can begin with it.
    pub fn upstream(mut self, host: &str, registry: Arc<dyn Repositories>) -> Result<Self> {
        self.proxy.add(host, registry)?;
        Ok(self)
    }

    /// Collects garbage that often, for the first time after `every`; with the grace of this
    /// server, whatever `options` say. Of several servers on one storage, each may do it.
    pub fn collect(mut self, every: Duration, options: gc::Options) -> Self {
        self.collect = Some((every, options));
        self
    }

    /// With another context, for its clock: by it, tokens expire and garbage is old.
    pub fn context(mut self, cx: Cx) -> Self {
        self.cx = cx;
        self
    }

    /// Listens on `HOST:PORT` and serves on the current runtime; port 0 takes a free one, see
    /// [`Server::addr`].
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub async fn bind(self, address: &str) -> Result<Server> {
        let fault = |source| Error::Bind {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        let local = listener.local_addr().map_err(fault)?;
        let collecting = self.collect.map(|(every, options)| {
            let (cx, storage) = (self.cx.child(), Arc::clone(&self.storage));
            let options = options.grace(self.grace);
            let task = tokio::spawn(gc::keep_collecting(cx.clone(), storage, every, options));
            Collecting { cx, task }
        });
        let links = Arc::new(Links::new(self.storage, self.grace / 2, self.sparse));
        let room = self.limits.manifests().div_ceil(1024);
        let room = usize::try_from(room).map_or(Semaphore::MAX_PERMITS, |room| {
            room.min(Semaphore::MAX_PERMITS)
        });
        let app = Arc::new(App {
            links,
            manifests: Semaphore::new(room),
            limits: self.limits,
            auth: self.auth,
            cx: self.cx,
            transport: self.transport,
            slots: Arc::default(),
            metrics: Metrics::default(),
            proxy: Arc::new(self.proxy),
        });
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&app), stopped));
        Ok(Server {
            address: local,
            app,
            stop,
            accepting: Some(accepting),
            collecting,
        })
    }
}

async fn accept(listener: TcpListener, app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(app.limits.connections));
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            _ = stopped.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Such as too many open files: others will end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (app, stopped) = (Arc::clone(&app), stopped.clone());
        connections.spawn(async move {
            let _permit = permit;
            app.metrics.connections.fetch_add(1, Ordering::Relaxed);
            serve(stream, remote.ip(), &app, stopped).await;
            app.metrics.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(
    stream: TcpStream,
    client: IpAddr,
    app: &Arc<App>,
    mut stopped: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off Nagle's algorithm");
    }
    // A connection costs no buffers before its first byte.
    let mut first = [0];
    tokio::select! {
        peeked = stream.peek(&mut first) => if !matches!(peeked, Ok(1..)) { return },
        () = tokio::time::sleep(app.limits.silence) => return,
        _ = stopped.wait_for(|stop| *stop) => return,
    }
    let stream = Patient::new(stream, app.limits.silence);
    match &app.transport {
        Transport::Plain => speak(stream, client, app, stopped).await,
        #[cfg(feature = "tls")]
        Transport::Tls(tls) => {
            let handshake = async { tls.acceptor().await.accept(stream).await };
            match tokio::time::timeout(app.limits.header_time, handshake).await {
                Ok(Ok(stream)) => speak(stream, client, app, stopped).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: IpAddr,
    app: &Arc<App>,
    mut stopped: watch::Receiver<bool>,
) {
    let answer = |request: Request<Incoming>| {
        let response = routes::handle(Arc::clone(app), client, request.map(Body::new));
        response.map(Ok::<_, Infallible>)
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.limits.header_time)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stopped.wait_for(|stop| *stop) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %ocicore::in_one_line(&error), "a connection ended early");
    }
}
