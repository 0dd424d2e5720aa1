//! `/metrics` and `/healthz` over HTTP/1.1.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

/// How many callers are answered at once; more wait in the kernel's queue.
const CALLERS: usize = 8;
/// How long a caller may take, from connecting to having read the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failure to accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Whether the program is well, or what it lacks.
pub type Health = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Writes a page.
pub type Page = Arc<dyn Fn() -> Result<String, std::fmt::Error> + Send + Sync>;

/// What is served.
#[derive(Clone)]
pub struct Pages {
    /// `/metrics`, as it is now.
    pub metrics: Page,
    /// `/healthz`: 200 `ok`, or 503 and what is lacking.
    pub health: Health,
}

/// Listens on an address.
///
/// # Errors
/// The address is taken, or not of this machine.
pub async fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(at).await
}

/// Answers callers for as long as it is polled.
pub async fn serve(listener: TcpListener, pages: Pages) {
    let callers = Arc::new(Semaphore::new(CALLERS));
    loop {
        let Ok(turn) = Arc::clone(&callers).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(err) => {
                tracing::debug!(%err, "cannot accept a caller of /metrics or /healthz");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            converse(stream, &pages).await;
            drop(turn);
        });
    }
}

async fn converse(stream: TcpStream, pages: &Pages) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(16 << 10)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(async |request: Request<Incoming>| {
                Ok::<_, Infallible>(pages.answer(request.method(), request.uri().path()))
            }),
        );
    match timeout(PATIENCE, connection).await {
        Ok(Ok(())) => (),
        Ok(Err(err)) => tracing::debug!(%err, "a caller of /metrics or /healthz was lost"),
        Err(_) => tracing::debug!("a caller of /metrics or /healthz took too long"),
    }
}

impl Pages {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            return page(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET\n".to_owned());
        }
        match path {
            "/metrics" => match (self.metrics)() {
                Ok(text) => page(StatusCode::OK, OPEN_METRICS, text),
                Err(err) => page(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{err}\n")),
            },
            "/healthz" => match (self.health)() {
                Ok(()) => page(StatusCode::OK, PLAIN, "ok\n".to_owned()),
                Err(why) => page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n")),
            },
            _ => {
                let text = "there are /metrics and /healthz\n";
                page(StatusCode::NOT_FOUND, PLAIN, text.to_owned())
            }
        }
    }
}

fn page(status: StatusCode, kind: HeaderValue, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rstest::rstest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn server(health: Health) -> SocketAddr {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new();
        metrics.rpc("Probe", "OK", Duration::ZERO);
        let metrics: Page = Arc::new(move || metrics.text());
        tokio::spawn(serve(listener, Pages { metrics, health }));
        address
    }

    async fn ask(at: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A caller that is refused in the middle may see a reset after the answer.
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8(answer).unwrap()
    }

    #[rstest]
    #[case::metrics("GET /metrics", "200 OK", "tarn_rpc_duration_seconds_count{method=\"Probe\"")]
    #[case::health("GET /healthz", "200 OK", "ok\n")]
    #[case::query("GET /healthz?verbose", "200 OK", "ok\n")]
    #[case::elsewhere("GET /", "404 Not Found", "there are /metrics and /healthz")]
    #[case::post("POST /metrics", "405 Method Not Allowed", "only GET")]
    #[tokio::test]
    async fn answers(#[case] line: &str, #[case] status: &str, #[case] content: &str) {
        let at = server(Arc::new(|| Ok(()))).await;
        let answer = ask(at, &format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        assert!(answer.contains(content), "{answer}");
    }

    #[tokio::test]
    async fn health_is_asked_each_time() {
        let well = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&well);
        let lacks =
            move || if seen.load(Ordering::Relaxed) { Ok(()) } else { Err("no pool".into()) };
        let at = server(Arc::new(lacks)).await;
        let request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        let answer = ask(at, request).await;
        assert!(answer.contains("503 Service Unavailable") && answer.ends_with("no pool\n"));
        well.store(true, Ordering::Relaxed);
        assert!(ask(at, request).await.ends_with("ok\n"));
    }

    #[tokio::test]
    async fn garbage_does_not_stop_it() {
        let at = server(Arc::new(|| Ok(()))).await;
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
        for garbage in ["\0\u{1}\r\n\r\n", "GET\r\n\r\n", &long] {
            assert!(!ask(at, garbage).await.contains(" 200 "));
        }
        assert!(ask(at, "GET /healthz HTTP/1.0\r\n\r\n").await.ends_with("ok\n"));
    }
}
