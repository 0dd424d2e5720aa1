//! One log line and one metric for each call, in one place.
//!
//! What is told: the method, the volume or snapshot, the gRPC code, how long it took, and the
//! message of an error as the caller got it. Requests and answers are never told: they may hold
//! secrets and mount flags (CSI spec, "Secrets Requirements").
//!
//! A handler says what its call is about with [`subject`] as soon as it knows. That is kept in a
//! task-local, so it needs no parameter and works for good and bad answers alike; work that a
//! handler moved to another thread or task cannot say it.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::Instant,
};

use tonic::{
    Code, Status,
    codegen::http::{Request, Response},
};
use tower::{Layer, Service};

use crate::telemetry::Metrics;

/// How much of an error's message a log line keeps, in bytes: it may repeat what a caller sent.
const MESSAGE: usize = 1024;
/// How much of a method's name is kept, in bytes. The longest of CSI's is shorter.
const METHOD: usize = 48;

tokio::task_local! {
    static SUBJECT: Arc<OnceLock<String>>;
}

/// Says which volume or snapshot the call that this task answers is about. The first word counts.
pub(super) fn subject(id: impl ToString) {
    // Outside of a call, as in a test of a handler, there is nobody to tell.
    drop(SUBJECT.try_with(|subject| subject.set(id.to_string())));
}

/// A layer for the whole server.
#[derive(Clone, Debug)]
pub struct Observe {
    metrics: Metrics,
    running: Running,
}

/// A service whose calls are told.
#[derive(Clone, Debug)]
pub struct Observed<S> {
    inner: S,
    metrics: Metrics,
    running: Running,
}

/// How many calls have come and are not answered yet.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<AtomicUsize>);

impl Running {
    /// Their number now.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Observe {
    /// Counts calls here.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, running: Running::default() }
    }

    /// The calls that it sees, counted from now on.
    pub fn running(&self) -> Running {
        self.running.clone()
    }
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observed { inner, metrics: self.metrics.clone(), running: self.running.clone() }
    }
}

impl<S, A, B> Service<Request<A>> for Observed<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let path = request.uri().path();
        self.running.0.fetch_add(1, Ordering::AcqRel);
        let call = Call {
            method: start(path.rsplit('/').next().unwrap_or_default(), METHOD).to_owned(),
            subject: Arc::default(),
            began: Instant::now(),
            metrics: self.metrics.clone(),
            running: self.running.clone(),
            answered: false,
        };
        let subject = Arc::clone(&call.subject);
        let answer = self.inner.call(request);
        Box::pin(SUBJECT.scope(subject, async move {
            let answer = answer.await;
            // A failed unary call has `grpc-status` in its headers, a good one in its trailers
            // (gRPC over HTTP/2, "Responses").
            let status = answer.as_ref().map(|it| Status::from_header_map(it.headers()));
            call.end(&match status {
                Ok(status) => status.unwrap_or_else(|| Status::ok("")),
                Err(_) => Status::unknown("the connection failed"),
            });
            answer
        }))
    }
}

/// A call under way. Dropped without an answer, it was given up.
struct Call {
    method: String,
    subject: Arc<OnceLock<String>>,
    began: Instant,
    metrics: Metrics,
    running: Running,
    answered: bool,
}

impl Call {
    fn end(mut self, status: &Status) {
        self.answered = true;
        self.tell(status.code(), start(status.message(), MESSAGE));
    }

    fn tell(&self, code: Code, message: &str) {
        let took = self.began.elapsed();
        let word = word(code);
        // Whoever reaches the socket can ask for any method, but must not make a metric of each.
        let method = if code == Code::Unimplemented { "unimplemented" } else { &self.method };
        self.metrics.rpc(method, word, took);
        let volume = self.subject.get().map(String::as_str);
        let error = (code != Code::Ok).then_some(message);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    method = self.method,
                    volume,
                    code = word,
                    seconds = took.as_secs_f64(),
                    error,
                    "call"
                )
            };
        }
        match weight(code) {
            tracing::Level::INFO => line!(info),
            tracing::Level::WARN => line!(warn),
            _ => line!(error),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.running.0.fetch_sub(1, Ordering::AcqRel);
        if self.answered {
            return;
        }
        if thread::panicking() {
            self.tell(Code::Internal, "it panicked");
        } else {
            self.tell(Code::Cancelled, "the caller hung up or its time was over");
        }
    }
}

/// The first bytes of a text, as many whole characters as fit.
fn start(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

/// An answer that is our fault is an error; one that asks the caller to do something is a warning.
fn weight(code: Code) -> tracing::Level {
    match code {
        Code::Ok => tracing::Level::INFO,
        Code::Internal | Code::Unknown | Code::DataLoss => tracing::Level::ERROR,
        Code::Cancelled
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unavailable
        | Code::Unauthenticated => tracing::Level::WARN,
    }
}

/// A code as gRPC's documents write it ("Status codes and their use in gRPC").
fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Mutex, PoisonError},
        time::Duration,
    };

    use hyper_util::rt::TokioIo;
    use tokio::net::{UnixListener, UnixStream};
    use tokio_stream::wrappers::UnixListenerStream;
    use tonic::transport::{Channel, Endpoint, Server};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::csi::proto::{
        GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
        GetPluginInfoResponse, GroupControllerGetCapabilitiesRequest, ProbeRequest, ProbeResponse,
        group_controller_client::GroupControllerClient,
        identity_client::IdentityClient,
        identity_server::{Identity, IdentityServer},
    };

    /// Answers well, answers badly, and does not answer.
    struct Moods;

    #[tonic::async_trait]
    impl Identity for Moods {
        async fn get_plugin_info(
            &self,
            _: tonic::Request<GetPluginInfoRequest>,
        ) -> Result<tonic::Response<GetPluginInfoResponse>, Status> {
            subject("v-1");
            subject("v-2");
            Ok(tonic::Response::new(Default::default()))
        }

        async fn get_plugin_capabilities(
            &self,
            _: tonic::Request<GetPluginCapabilitiesRequest>,
        ) -> Result<tonic::Response<GetPluginCapabilitiesResponse>, Status> {
            subject("v-3");
            Err(Status::already_exists("a\nb\u{1b}[31m\"c\""))
        }

        async fn probe(
            &self,
            _: tonic::Request<ProbeRequest>,
        ) -> Result<tonic::Response<ProbeResponse>, Status> {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(tonic::Response::new(Default::default()))
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    impl Lines {
        fn calls(&self) -> Vec<serde_json::Value> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            lines.filter(|line: &serde_json::Value| line["message"] == "call").collect()
        }
    }

    /// A server, a channel to it, what it counts, and its folder.
    async fn server() -> (Channel, Metrics, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("csi.sock");
        let incoming = UnixListenerStream::new(UnixListener::bind(&path).unwrap());
        let metrics = Metrics::new();
        let server = Server::builder()
            .layer(Observe::new(metrics.clone()))
            .add_service(IdentityServer::new(Moods));
        tokio::spawn(server.serve_with_incoming(incoming));
        let connect = tower::service_fn(move |_| {
            let path = path.clone();
            async { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        let to = Endpoint::from_static("http://localhost");
        (to.connect_with_connector(connect).await.unwrap(), metrics, folder)
    }

    #[tokio::test]
    async fn each_call_is_told_once() {
        let lines = Lines::default();
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_writer(lines.clone());
        let log = tracing::subscriber::set_default(log.finish());
        let (channel, metrics, folder) = server().await;
        let mut client = IdentityClient::new(channel.clone());
        client.get_plugin_info(GetPluginInfoRequest {}).await.unwrap();
        client.get_plugin_capabilities(GetPluginCapabilitiesRequest {}).await.unwrap_err();
        let late = client.probe(ProbeRequest {});
        tokio::time::timeout(Duration::from_millis(100), late).await.unwrap_err();
        let mut stranger = GroupControllerClient::new(channel);
        stranger
            .group_controller_get_capabilities(GroupControllerGetCapabilitiesRequest {})
            .await
            .unwrap_err();
        drop(log);
        drop(folder);

        let told: Vec<String> = lines
            .calls()
            .iter()
            .map(|line| {
                assert!(line["seconds"].as_f64().is_some_and(|seconds| seconds < 10.0));
                let fields = ["level", "method", "volume", "code", "error"];
                fields.map(|field| line[field].to_string()).join(" ")
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        "INFO" "GetPluginInfo" "v-1" "OK" null
        "WARN" "GetPluginCapabilities" "v-3" "ALREADY_EXISTS" "a\nb\u001b[31m\"c\""
        "WARN" "Probe" null "CANCELLED" "the caller hung up or its time was over"
        "WARN" "GroupControllerGetCapabilities" null "UNIMPLEMENTED" ""
        "#);
        let text = metrics.text().unwrap();
        let counted: Vec<&str> =
            text.lines().filter(|line| line.contains("rpc_duration_seconds_count")).collect();
        assert_eq!(counted.len(), 4, "{text}");
        let other =
            "tarn_rpc_duration_seconds_count{method=\"unimplemented\",code=\"UNIMPLEMENTED\"} 1";
        assert!(counted.contains(&other), "{text}");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(start("äöü", 3), "ä");
        assert_eq!(start("abc", 3), "abc");
    }

    #[test]
    fn outside_of_a_call_nothing_is_told() {
        subject("v-1");
    }
}
