//! Questions over TLS and HTTPS, with the ClientHello of a browser. Source: RFC 7858, RFC 8484.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::exchange::{ExchangeError, Outcome};
use super::wire::{Family, MAX_ANSWER, Question};
use crate::tls::{self, ClientSettings, Connected, HelloEdits, SessionId, Split, Verify, profiles};
use crate::{Endpoint, Network};

const MESSAGE: &str = "application/dns-message";
/// RFC 9113 section 3.2.
const HTTP2: &[u8] = b"h2";

/// How a server of this name is connected to.
pub(super) fn plan(address: SocketAddr, name: &str, verify: Verify) -> Option<tls::Plan> {
    // Servers of others answer more than ours, but not all that a browser may have first choice of.
    let suits = |profile: &&Arc<tls::Profile>| profile.is_current() && profile.is_answerable();
    let profile = profiles::all().iter().rfind(suits)?;
    Some(tls::Plan {
        server: Endpoint::Address(address),
        settings: ClientSettings {
            profile: Arc::clone(profile),
            edits: HelloEdits {
                server_name: Some(name.to_owned()),
                session_id: SessionId::Kept,
                padding: None,
            },
            split: Split::Whole,
            verify,
            ticket_secret: None,
        },
        passthrough: None,
    })
}

async fn connect(network: &Arc<dyn Network>, plan: Option<tls::Plan>) -> Result<Connected, ExchangeError> {
    let plan = plan.ok_or(ExchangeError::Status("this version has no ClientHello for it"))?;
    tls::connect(&plan, network.as_ref()).await.map_err(|error| ExchangeError::Connect(Box::new(error)))
}

/// Asks all questions on one connection. RFC 7858 section 3.3: each message behind its length, and answers in any order.
pub(super) async fn over_tls(
    network: &Arc<dyn Network>,
    plan: Option<tls::Plan>,
    questions: &[(Family, Question)],
    outcomes: &mpsc::Sender<Outcome>,
) -> Result<(), ExchangeError> {
    let mut stream = connect(network, plan).await?.stream;
    let mut all = Vec::new();
    for (_, question) in questions {
        all.extend(u16::try_from(question.bytes().len()).unwrap_or(u16::MAX).to_be_bytes());
        all.extend_from_slice(question.bytes());
    }
    stream.write_all(&all).await?;
    stream.flush().await?;
    let mut open: Vec<&(Family, Question)> = questions.iter().collect();
    while !open.is_empty() {
        let length = usize::from(stream.read_u16().await?);
        if length > MAX_ANSWER {
            return Err(super::wire::NoAnswer::Malformed.into());
        }
        let mut message = vec![0; length];
        stream.read_exact(&mut message).await?;
        // Which question it answers is told by the question that it repeats.
        let position = open
            .iter()
            .position(|(_, question)| question.answer(&message) != Err(super::wire::NoAnswer::Other));
        let Some((family, question)) = position.map(|position| open.remove(position)) else {
            return Err(super::wire::NoAnswer::Other.into());
        };
        let _gone = outcomes.send((*family, question.answer(&message).map_err(Into::into))).await;
    }
    Ok(())
}

/// Asks all questions in requests of one HTTP/2 connection.
pub(super) async fn over_https(
    network: &Arc<dyn Network>,
    plan: Option<tls::Plan>,
    url: String,
    questions: &[(Family, Question)],
    outcomes: &mpsc::Sender<Outcome>,
) -> Result<(), ExchangeError> {
    let connected = connect(network, plan).await?;
    if connected.alpn.as_deref() != Some(HTTP2) {
        return Err(ExchangeError::Status("the server does not speak HTTP/2"));
    }
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(connected.stream)).await?;
    let asking = async {
        let asked = questions.iter().map(|(family, question)| {
            let (mut sender, url) = (sender.clone(), url.clone());
            async move {
                let result = request(&mut sender, url, question).await;
                let _gone = outcomes.send((*family, result)).await;
            }
        });
        let mut asked = asked.into_iter();
        match (asked.next(), asked.next()) {
            (Some(one), Some(other)) => drop(tokio::join!(one, other)),
            (Some(one), None) => one.await,
            _ => {}
        }
    };
    tokio::select! {
        // Its failures reach the requests.
        _ = connection => Err(ExchangeError::Status("the connection ended")),
        () = asking => Ok(()),
    }
}

async fn request(
    sender: &mut http2::SendRequest<Full<Bytes>>,
    url: String,
    question: &Question,
) -> Result<super::wire::Found, ExchangeError> {
    let request = hyper::Request::post(url)
        .header("accept", MESSAGE)
        .header("content-type", MESSAGE)
        .body(Full::new(Bytes::copy_from_slice(question.bytes())))?;
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    if response.status() != hyper::StatusCode::OK {
        return Err(ExchangeError::Status("the server refused the request"));
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|_| ExchangeError::Status("the response broke off or is too long"))?;
    Ok(question.answer(&body.to_bytes())?)
}
