//! HTTP/1, one request per connection, everything bounded.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::cores::Cores;
use super::{page, text};
use crate::base::limits::{
    ADMIN_CONNECTION_WITHIN, ADMIN_CONNECTIONS_MAX, ADMIN_HEAD_BYTES_MAX, ADMIN_HEAD_WITHIN, ADMIN_HEADERS_MAX,
    SCRAPES_AT_ONCE,
};
use crate::io::Receiver;

/// Serves until `stop` is told, or nobody is left to tell it.
pub(super) async fn serve(listener: std::net::TcpListener, cores: Cores, mut stop: Receiver<()>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let desk = Rc::new(Desk { cores, scrapes: Cell::new(0) });
    let accepting = tokio::task::spawn_local(accept(listener, desk));
    let _ = stop.recv().await;
    accepting.abort();
    Ok(())
}

/// Takes connections. When there are too many the oldest gives way: a client that is quick is through before it is that.
async fn accept(listener: TcpListener, desk: Rc<Desk>) {
    let open: Rc<RefCell<VecDeque<(u64, AbortHandle)>>> = Rc::default();
    let mut next = 0;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "an HTTP connection could not be accepted");
                sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        if open.borrow().len() >= ADMIN_CONNECTIONS_MAX
            && let Some((_, oldest)) = open.borrow_mut().pop_front()
        {
            oldest.abort();
        }
        let (id, desk, all) = (next, desk.clone(), open.clone());
        next += 1;
        let connection = tokio::task::spawn_local(async move {
            let _ = timeout(ADMIN_CONNECTION_WITHIN, one(stream, desk)).await;
            all.borrow_mut().retain(|(other, _)| *other != id);
        });
        open.borrow_mut().push_back((id, connection.abort_handle()));
    }
}

/// One request and its answer.
async fn one(stream: TcpStream, desk: Rc<Desk>) {
    let answered = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_HEAD_WITHIN)
        .keep_alive(false)
        .max_headers(ADMIN_HEADERS_MAX)
        .max_buf_size(ADMIN_HEAD_BYTES_MAX)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request| {
                let desk = desk.clone();
                async move { Ok::<_, Infallible>(desk.answer(&request).await) }
            }),
        );
    if let Err(error) = answered.await {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}

/// What requests are answered from.
struct Desk {
    cores: Cores,
    /// Scrapes under way.
    scrapes: Cell<usize>,
}

impl Desk {
    async fn answer<B>(&self, request: &Request<B>) -> Response<String> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/live" => plain(StatusCode::OK, "alive\n"),
            "/ready" => match self.cores.all_serve().await {
                true => plain(StatusCode::OK, "ready\n"),
                false => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready: the broker starts or stops\n"),
            },
            "/metrics" => match self.begin_scrape() {
                Some(_scrape) => typed(StatusCode::OK, text::CONTENT_TYPE, page::page(&self.cores).await),
                None => plain(StatusCode::SERVICE_UNAVAILABLE, "other scrapes are under way; try again\n"),
            },
            _ => plain(StatusCode::NOT_FOUND, "there are /metrics, /live and /ready\n"),
        }
    }

    fn begin_scrape(&self) -> Option<Scrape<'_>> {
        let under_way = self.scrapes.get();
        (under_way < SCRAPES_AT_ONCE).then(|| {
            self.scrapes.set(under_way + 1);
            Scrape(&self.scrapes)
        })
    }
}

/// A place among the scrapes under way, given up when it is dropped.
struct Scrape<'a>(&'a Cell<usize>);

impl Drop for Scrape<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn plain(status: StatusCode, sentence: &str) -> Response<String> {
    typed(status, "text/plain; charset=utf-8", sentence.into())
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// How long to wait after a failed accept, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
