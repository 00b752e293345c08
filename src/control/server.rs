//! `/livez`, `/readyz` and `/metrics` over HTTP/1, on one thread that shares nothing with the workers but counters.
//!
//! It may face a network, so whatever a client does is bounded: so many connections, each for one request of so many
//! bytes within so much time. When all places are taken the oldest connection goes, and not the newest, so that a
//! client that only holds connections open cannot keep the probes of the kubelet out.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use super::health::Shared;
use super::metrics;
use crate::sys::open_files::is_exhausted;

const CONNECTIONS_MAX: usize = 64;
/// From accept to the last byte of the answer.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(5);
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// After a failure of accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running control plane. Dropping it stops it.
#[derive(Debug)]
pub struct ControlServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why the control plane does not run. Each says its mend.
#[derive(Debug)]
pub enum ControlError {
    PortTaken { address: SocketAddr },
    Bind { address: SocketAddr, error: io::Error },
    Start(io::Error),
}

impl ControlServer {
    /// Binds on the calling thread, so that the caller learns of a taken port, and serves on a thread of its own,
    /// which inherits the caller's cores.
    pub fn start(listen: SocketAddr, shared: Arc<Shared>) -> Result<ControlServer, ControlError> {
        let listener = StdListener::bind(listen).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ControlError::PortTaken { address: listen },
            _ => ControlError::Bind { address: listen, error },
        })?;
        let address = listener.local_addr().map_err(ControlError::Start)?;
        listener.set_nonblocking(true).map_err(ControlError::Start)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(ControlError::Start)?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener).map_err(ControlError::Start)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                let places = Places { listener, open: VecDeque::with_capacity(CONNECTIONS_MAX) };
                runtime.spawn(axum::serve(places, router(shared)).into_future());
                // Both outcomes mean stop: the word was given, or the server was dropped.
                let _ = runtime.block_on(stopped);
                // With the runtime go the listener and every connection.
            })
            .map_err(ControlError::Start)?;
        Ok(ControlServer { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens; the port is the real one where the configuration says 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection and waits for the thread.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the control plane's thread panicked");
        }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::PortTaken { address } => {
                let port = address.port();
                write!(
                    f,
                    "the control plane's port is taken: {address}: stop the process that `ss -ltnp 'sport = :{port}'` \
                     shows, or set control.listen to another port or \"off\""
                )
            }
            ControlError::Bind { address, error } if is_exhausted(error) => write!(
                f,
                "the control plane cannot listen on {address}: {error}: raise the limit of open files (ulimit -Hn, LimitNOFILE of systemd)"
            ),
            ControlError::Bind { address, error } => write!(
                f,
                "the control plane cannot listen on {address}: {error}: set control.listen to an address of this machine"
            ),
            ControlError::Start(error) => write!(
                f,
                "the control plane cannot start: {error}: raise the limits of open files and threads (ulimit -n, -u)"
            ),
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ControlError::PortTaken { .. } => None,
            ControlError::Bind { error, .. } | ControlError::Start(error) => Some(error),
        }
    }
}

#[derive(Clone)]
struct Served {
    shared: Arc<Shared>,
    registry: Arc<Registry>,
}

fn router(shared: Arc<Shared>) -> Router {
    let registry = Arc::new(metrics::registry(Arc::clone(&shared)));
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(serve_metrics))
        .with_state(Served { shared, registry })
        .layer(map_response(close_after))
}

async fn livez(State(served): State<Served>) -> Response {
    match served.shared.liveness(Instant::now()) {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn readyz(State(served): State<Served>) -> Response {
    match served.shared.readiness() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn serve_metrics(State(served): State<Served>) -> Response {
    match metrics::encode(&served.registry) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// One request a connection: an idle one is worth less than its place.
async fn close_after(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A listener with [`CONNECTIONS_MAX`] places.
struct Places {
    listener: TcpListener,
    /// Oldest first. Dropping a sender closes its connection.
    open: VecDeque<oneshot::Sender<()>>,
}

impl axum::serve::Listener for Places {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    self.open.retain(|connection| !connection.is_closed());
                    while self.open.len() >= CONNECTIONS_MAX {
                        self.open.pop_front();
                    }
                    let (place, evicted) = oneshot::channel();
                    self.open.push_back(place);
                    let deadline = Box::pin(sleep(CONNECTION_TIME_MAX));
                    return (Connection { stream, deadline, evicted, request_bytes: 0 }, peer);
                }
                Err(error) => {
                    tracing::debug!(%error, "the control plane could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends at its deadline, when its place is given away, or when its request is too long.
struct Connection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    evicted: oneshot::Receiver<()>,
    request_bytes: usize,
}

impl Connection {
    /// `Err` once the connection must end. Wakes the task for it.
    fn poll_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.deadline.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if Pin::new(&mut self.evicted).poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_end(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.request_bytes += buffer.filled().len() - before;
        if self.request_bytes > REQUEST_BYTES_MAX {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_end(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as StdStream;

    use super::super::counters::{
        CounterKind, FlusherCounters, JournalCounters, PublishedState, SessionCounters, StallCounters, StorageCounters,
        WorkerCounters,
    };
    use super::super::health::Phase;
    use super::super::trace::Stage;
    use super::*;

    /// Far beyond [`CONNECTION_TIME_MAX`], so that only a server that never answers fails by it.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn start(shared: &Arc<Shared>) -> ControlServer {
        ControlServer::start(SocketAddr::from(([127, 0, 0, 1], 0)), Arc::clone(shared)).unwrap()
    }

    fn connect(server: &ControlServer) -> StdStream {
        let stream = StdStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Everything until the server closes; what was read where it resets instead.
    fn read_all(stream: &mut StdStream) -> String {
        let mut bytes = Vec::new();
        if let Err(error) = stream.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        String::from_utf8(bytes).unwrap()
    }

    fn request(server: &ControlServer, path: &str) -> (u16, String) {
        let mut stream = connect(server);
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let answer = read_all(&mut stream);
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.into())
    }

    /// The samples of a Prometheus text, checked for their form.
    fn samples(text: &str) -> Vec<(String, f64)> {
        let mut described: Vec<&str> = Vec::new();
        let mut samples = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap();
                assert!(!described.contains(&name), "{name} is described twice");
                assert_eq!(name.ends_with("_total"), rest.ends_with(" counter"), "{line}");
                described.push(name);
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                assert!(rest.contains(' '), "{line} says nothing");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let family = name.split('{').next().unwrap();
                assert_eq!(described.last(), Some(&family), "{line}");
                samples.push((name.to_string(), value.parse().unwrap()));
            }
        }
        samples
    }

    fn value(samples: &[(String, f64)], name: &str) -> f64 {
        samples.iter().find(|(sample, _)| sample == name).unwrap_or_else(|| panic!("no {name}")).1
    }

    #[test]
    fn health_follows_the_engine_and_names_the_reason() {
        let shared = Shared::new(1, 1);
        let server = start(&shared);
        assert_eq!(request(&server, "/livez"), (200, "ok\n".into()));
        assert_eq!(request(&server, "/readyz"), (503, "starting\n".into()));
        shared.set_phase(Phase::Ready);
        assert_eq!(request(&server, "/readyz"), (200, "ok\n".into()));
        shared.set_phase(Phase::Stopping);
        assert_eq!(request(&server, "/readyz"), (503, "stopping\n".into()));
        assert_eq!(request(&server, "/livez"), (200, "ok\n".into()));
        assert_eq!(request(&server, "/other").0, 404);
        server.stop();
    }

    #[test]
    fn metrics_show_every_counter_of_every_table() {
        let shared = Shared::new(2, 1);
        let session = shared.sessions.register("FIX.4.4:VENUE->DESK\"1");
        session.publish(PublishedState::Established, 7, 9);
        shared.worker(1).messages_in.add(41);
        shared.worker(1).messages_in.add(1);
        shared.journal(0).appended_bytes.set(4096);
        shared.flusher(0).synced_bytes.set(4000);
        shared.flusher(0).last_sync_ns.set(1_500_000);
        shared.storage(0).slow.set(1);
        session.unsynced_messages.set(3);
        session.unsynced_end.set(4001);
        shared.stall(0).stalls.add(2);
        let server = start(&shared);

        let (status, body) = request(&server, "/metrics");
        assert_eq!(status, 200);
        let samples = samples(&body);
        assert_eq!(value(&samples, "fixring_worker_stalls_total{worker=\"0\"}"), 2.0);
        assert_eq!(value(&samples, "fixring_worker_messages_in_total{worker=\"0\"}"), 0.0);
        assert_eq!(value(&samples, "fixring_worker_messages_in_total{worker=\"1\"}"), 42.0);
        assert_eq!(value(&samples, "fixring_journal_unsynced_bytes{journal=\"0\"}"), 96.0);
        assert_eq!(value(&samples, "fixring_session_next_in{session=\"FIX.4.4:VENUE->DESK\\\"1\"}"), 9.0);
        assert_eq!(value(&samples, "fixring_session_state{session=\"FIX.4.4:VENUE->DESK\\\"1\"}"), 2.0);
        assert_eq!(value(&samples, "fixring_journal_last_sync_seconds{journal=\"0\"}"), 0.0015);
        assert_eq!(value(&samples, "fixring_ready"), 0.0);
        assert_eq!(value(&samples, "fixring_storage_slow{journal=\"0\"}"), 1.0);
        assert_eq!(value(&samples, "fixring_session_unsynced_messages{session=\"FIX.4.4:VENUE->DESK\\\"1\"}"), 3.0);
        let of = |prefix: &str| samples.iter().filter(|(name, _)| name.starts_with(prefix)).count();
        assert_eq!(of("fixring_worker_"), 2 * WORKER_ROWS);
        assert_eq!(of("fixring_journal_"), JOURNAL_ROWS);
        // All that stand for themselves, and the three that are made of the parts.
        let parts = SessionCounters::TABLE.iter().filter(|row| row.kind == CounterKind::Part).count();
        assert_eq!(of("fixring_session_"), SessionCounters::TABLE.len() - parts + 3);
        assert_eq!(of("fixring_storage_"), StorageCounters::TABLE.len());
        // What the journal has synced meanwhile is at risk no more.
        shared.flusher(0).synced_bytes.set(4001);
        shared.set_blame(1, Duration::from_micros(1_500), Some(Stage::JournalIn), "FIX.4.4:VENUE->DESK\"1");
        shared.trace(0).start_stamps();
        let samples = self::samples(&request(&server, "/metrics").1);
        assert_eq!(value(&samples, "fixring_session_unsynced_messages{session=\"FIX.4.4:VENUE->DESK\\\"1\"}"), 0.0);
        let blamed = "{worker=\"1\",stage=\"journal_in\",session=\"FIX.4.4:VENUE->DESK\\\"1\"}";
        assert_eq!(value(&samples, &format!("fixring_worker_longest_turn_blame_seconds{blamed}")), 0.0015);
        assert_eq!(value(&samples, "fixring_worker_stage_seconds_total{worker=\"0\",stage=\"encode\"}"), 0.0);
    }

    const WORKER_ROWS: usize = WorkerCounters::TABLE.len() + StallCounters::TABLE.len();
    const JOURNAL_ROWS: usize = JournalCounters::TABLE.len() + FlusherCounters::TABLE.len() + 1;

    #[test]
    fn a_taken_port_is_an_error_that_says_the_mend() {
        let shared = Shared::new(1, 1);
        // An address that no other test uses, so that nobody takes the port once it is free again.
        let listen = SocketAddr::from(([127, 0, 0, 77], 0));
        let first = ControlServer::start(listen, Arc::clone(&shared)).unwrap();
        let error = ControlServer::start(first.address(), Arc::clone(&shared)).unwrap_err();
        assert!(matches!(error, ControlError::PortTaken { address } if address == first.address()));
        assert!(error.to_string().contains("set control.listen"), "{error}");
        let address = first.address();
        first.stop();
        ControlServer::start(address, shared).expect("a stopped server has released its port");
    }

    #[test]
    fn a_hostile_client_gets_an_answer_or_a_close_and_others_are_served() {
        let shared = Shared::new(1, 1);
        let server = start(&shared);
        let endless_header = format!("GET /livez HTTP/1.1\r\nX: {}", "x".repeat(REQUEST_BYTES_MAX * 4));
        let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(REQUEST_BYTES_MAX / 2));
        for hostile in [
            endless_header.as_bytes(),
            long_path.as_bytes(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"8=FIX.4.4\x019=5\x0135=0\x0110=163\x01\r\n\r\n",
            b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"GET /livez HTTP/9.9\r\n\r\n",
            b"\0\0\0\0\r\n\r\n",
        ] {
            let mut stream = connect(&server);
            // The server may have closed before the last byte was sent.
            let _ = stream.write_all(hostile);
            let answer = read_all(&mut stream);
            assert!(answer.is_empty() || !answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert_eq!(request(&server, "/livez").0, 200);
        }
    }

    #[test]
    fn idle_connections_beyond_the_bound_make_way_for_new_ones() {
        let shared = Shared::new(1, 1);
        let server = start(&shared);
        let mut idle: Vec<StdStream> = (0..CONNECTIONS_MAX * 2).map(|_| connect(&server)).collect();
        assert_eq!(request(&server, "/livez").0, 200);
        // The oldest was closed to make way; had it not been, the read would end by the deadline with the same
        // result, so the time tells.
        let start = Instant::now();
        assert_eq!(read_all(&mut idle[0]), "");
        assert!(start.elapsed() < CONNECTION_TIME_MAX, "closed by the deadline and not for its place");
    }

    #[test]
    fn a_stop_ends_connections_that_never_asked() {
        let shared = Shared::new(1, 1);
        let server = start(&shared);
        let mut idle = connect(&server);
        assert_eq!(request(&server, "/livez").0, 200);
        server.stop();
        assert_eq!(read_all(&mut idle), "");
    }
}
