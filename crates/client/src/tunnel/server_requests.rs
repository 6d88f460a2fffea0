//! What the server asks of the client.
//!
//! Source: PROTOCOL.md 3.8, 4.9, 4.10.

use culvert_protocol::api::{Alert, OslRequest, request_name};
use culvert_ssh::Refused;
use culvert_ssh_tokio::IncomingRequest;

use crate::notice::{FreeText, Notice, Notices};

/// Handles one request. Unknown ones are refused, where the reference leaves its server waiting.
pub(crate) fn on_server_request(request: IncomingRequest, notices: &Notices) {
    let reply = match request.name.as_slice() {
        name if name == request_name::ALERT.as_bytes() => {
            on_alert(&request.payload, notices);
            Ok(Vec::new())
        }
        // Keys are taken note of; what they open comes with the obfuscated server lists.
        name if name == request_name::OSL.as_bytes() => match OslRequest::from_json(&request.payload) {
            Ok(_) => Ok(Vec::new()),
            Err(error) => {
                notices.warning(format!("the server sent an unreadable request: {error}"));
                Err(Refused)
            }
        },
        _ => Err(Refused),
    };
    request.reply(reply);
}

fn on_alert(payload: &[u8], notices: &Notices) {
    match Alert::from_json(payload) {
        Ok(alert) => notices.emit(Notice::ServerAlert {
            reason: FreeText::new(alert.reason),
            subject: FreeText::new(alert.subject),
            action_urls: alert.action_urls.into_iter().map(FreeText::new).collect(),
        }),
        Err(error) => notices.warning(format!("the server sent an unreadable alert: {error}")),
    }
}
