//! From a frame to the handler of its API, and from its answer to a frame.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;

use super::Broker;
use super::catalogue;
use super::context::{Peer, RequestContext, Stage, Stamps};
use crate::base::Mono;
use crate::base::budget::Share;
use crate::base::limits::{ANSWER_BYTES_CHARGED, ANSWER_BYTES_MIN};
use crate::protocol::{ApiKey, Frame, LENGTH_BYTES, Message, Reader, decode_request_header};

/// What becomes of a request.
pub enum Handled {
    /// It is answered.
    Now(Answer),
    /// It will be. Where requests overlap ([`catalogue::overlaps`]), the next one may be taken up meanwhile; else it waits for other clients, and begins when
    /// it is first asked for.
    Later(LaterAnswer),
}

/// An answer that comes when records are on disk, or when other clients have done their part.
pub type LaterAnswer = Pin<Box<dyn Future<Output = Answer>>>;

/// The charge for the memory of an answer.
pub type Held = Share;

/// What the connection does about a request.
#[derive(Debug)]
pub enum Answer {
    /// Sends a response. What it holds is given back as the peer takes it.
    Respond(Frame, Option<Held>),
    /// Nothing: the client asked for no answer (acks=0).
    Silent,
    /// Closes the connection, as Kafka does where there is no other way to say no. The reason goes to the log.
    Close(String),
}

impl Answer {
    /// Bytes to send.
    pub fn len(&self) -> usize {
        match self {
            Self::Respond(frame, _) => frame.byte_len(),
            Self::Silent | Self::Close(_) => 0,
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Answer> for Handled {
    fn from(answer: Answer) -> Self {
        Self::Now(answer)
    }
}

/// Has a request answered. `frame` begins with the API key; its last byte was read at `read`.
pub async fn handle(broker: &Rc<Broker>, peer: &Peer, frame: Bytes, read: Mono) -> Handled {
    let mut reader = Reader::new(&frame);
    let header = match decode_request_header(&mut reader) {
        Ok(header) => header,
        Err(fault) => {
            broker.counter.refused();
            return Answer::Close(format!("request header: {fault}")).into();
        }
    };
    let Some(api) = catalogue::find(header.api) else {
        broker.counter.refused();
        return Answer::Close(format!("{} is not served", header.api)).into();
    };
    if !api.served.contains(&header.version) {
        broker.counter.refused();
        return Answer::Close(format!("{} version {} is not served", header.api, header.version)).into();
    }
    let context = RequestContext {
        api: header.api,
        version: header.version,
        correlation_id: header.correlation_id,
        client_id: header.client_id,
        listener: broker.listener(peer.listener),
        peer: peer.address,
        principal: peer.principal.clone(),
        request_bytes: frame.len(),
        sends_little: peer.sends_little(),
        stamps: Stamps::new(read),
    };
    broker.counter.request(header.api, LENGTH_BYTES + frame.len());
    let body = reader.rest();
    drop(frame);
    let handled = (api.handler)(broker.clone(), context, body).await;
    if let Handled::Now(Answer::Close(_)) = handled {
        broker.counter.closed(api.key);
    }
    handled
}

/// Decodes the body, asks `handler`, and makes the response a frame. A body that cannot be decoded closes the connection, as in Kafka. Large requests wait
/// in order for one of a few places.
pub async fn answered<Q: Message, A: Message>(
    broker: Rc<Broker>,
    context: RequestContext,
    body: Bytes,
    handler: impl AsyncFnOnce(&Broker, &RequestContext, Q) -> A,
) -> Handled {
    let handler =
        async |broker: &Broker, context: &RequestContext, request| (handler(broker, context, request).await, None);
    answered_holding(broker, context, body, handler).await
}

/// As [`answered`], for a handler whose answer holds memory until the peer has taken it.
pub async fn answered_holding<Q: Message, A: Message>(
    broker: Rc<Broker>,
    context: RequestContext,
    body: Bytes,
    handler: impl AsyncFnOnce(&Broker, &RequestContext, Q) -> (A, Option<Held>),
) -> Handled {
    let mut _place = None;
    if context.is_large() {
        _place = Some(broker.large_requests.take(1, 1).await);
    }
    let request = Q::decode(&mut Reader::new(&body), context.version);
    drop(body);
    match request {
        Ok(request) => ask(&broker, &context, request, handler).await.into(),
        Err(fault) => undecodable(&context, fault).into(),
    }
}

/// Asks the handler of a request that was understood, and makes its response a frame.
async fn ask<Q, A: Message>(
    broker: &Broker,
    context: &RequestContext,
    request: Q,
    handler: impl AsyncFnOnce(&Broker, &RequestContext, Q) -> (A, Option<Held>),
) -> Answer {
    context.stamps.mark(Stage::Decoded, broker.shard.io().now());
    let (response, held) = handler(broker, context, request).await;
    match respond(broker, context, context.version, &response) {
        Answer::Respond(frame, _) => Answer::Respond(frame, held),
        other => other,
    }
}

/// As [`answered`], for a handler whose answer may be far larger than its request. Answers are made as far as there is memory for what peers do not take, and
/// charged until they are taken.
pub async fn answered_charged<Q: Message, A: Message>(
    broker: Rc<Broker>,
    context: RequestContext,
    body: Bytes,
    handler: impl AsyncFnOnce(&Broker, &RequestContext, Q) -> A,
) -> Handled {
    // After the place of a large request, as a fetch does.
    let handler = async |broker: &Broker, context: &RequestContext, request| {
        let held = broker.answer_memory.take(ANSWER_BYTES_MIN, ANSWER_BYTES_MIN).await;
        (handler(broker, context, request).await, Some(held))
    };
    match answered_holding(broker, context, body, handler).await {
        Handled::Now(Answer::Respond(frame, Some(held))) if frame.byte_len() >= ANSWER_BYTES_CHARGED => {
            held.set(frame.byte_len());
            Answer::Respond(frame, Some(held)).into()
        }
        Handled::Now(Answer::Respond(frame, _)) => Answer::Respond(frame, None).into(),
        other => other,
    }
}

/// As [`answered`], for a handler that may wait for other clients. Meanwhile it holds neither the request's frame nor a place among large requests: those
/// others may need them.
pub async fn answered_parked<Q: Message + 'static, A: Message>(
    broker: Rc<Broker>,
    context: RequestContext,
    body: Bytes,
    handler: impl AsyncFnOnce(&Broker, &RequestContext, Q) -> (A, Option<Held>) + 'static,
) -> Handled {
    let mut _place = None;
    if context.is_large() {
        _place = Some(broker.large_requests.take(1, 1).await);
    }
    let request = Q::decode(&mut Reader::new(&body), context.version);
    drop(body);
    match request {
        Ok(request) => Handled::Later(Box::pin(async move { ask(&broker, &context, request, handler).await })),
        Err(fault) => undecodable(&context, fault).into(),
    }
}

/// As [`answered`], for a handler that chooses the version of its response and decodes the body itself.
pub async fn answered_as<A: Message>(
    broker: Rc<Broker>,
    context: RequestContext,
    body: Bytes,
    handler: impl FnOnce(&Broker, &RequestContext, &Bytes) -> Result<(i16, A), crate::protocol::DecodeError>,
) -> Handled {
    match handler(&broker, &context, &body) {
        Ok((version, response)) => respond(&broker, &context, version, &response).into(),
        Err(fault) => undecodable(&context, fault).into(),
    }
}

/// A body that is not what its API and version say.
pub fn undecodable(context: &RequestContext, fault: impl std::fmt::Display) -> Answer {
    Answer::Close(format!("{} version {}: {fault}", context.api, context.version))
}

/// Makes a response a frame.
pub fn respond(broker: &Broker, context: &RequestContext, version: i16, response: &impl Message) -> Answer {
    let frame = match Frame::response(context.api, version, context.correlation_id, response) {
        Ok(frame) => frame,
        Err(fault) => return Answer::Close(format!("{} version {version}: {fault}", context.api)),
    };
    context.stamps.mark(Stage::Responded, broker.shard.io().now());
    let total = context.stamps.total();
    broker.counter.response(context.api, frame.byte_len(), frame.has_error, total);
    if let Some(total) = total
        && total > SLOW
        && !matches!(context.api, ApiKey::Fetch | ApiKey::JoinGroup | ApiKey::SyncGroup)
    {
        tracing::debug!(api = %context.api, peer = %context.peer, stamps = ?context.stamps, "slow request");
    }
    Answer::Respond(frame, None)
}

/// A request that took longer is worth a line in a debug log. Fetches and members of groups wait on purpose.
const SLOW: std::time::Duration = std::time::Duration::from_secs(1);
