//! What both ends of one call have agreed on, so that a request within the call can be written.
//!
//! Invariant: the number of a new request is higher than that of every earlier one (RFC 3261, section 12.2.1.1).

use super::message::{Message, parameter, uri_of};

/// One end of a call.
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// The From header of our requests.
    local: String,
    /// The To header of our requests; without a tag until the other side has one.
    remote: String,
    /// Where requests go: the other side's Contact.
    target: String,
    routes: Vec<String>,
    sequence: u32,
}

impl Dialog {
    /// The end of one who calls.
    pub(crate) fn outgoing(call_id: &str, local: &str, uri: &str) -> Self {
        Self {
            call_id: call_id.to_owned(),
            local: local.to_owned(),
            remote: format!("<{uri}>"),
            target: uri.to_owned(),
            routes: Vec::new(),
            sequence: 0,
        }
    }

    /// The end of one who is called.
    pub(crate) fn incoming(invite: &Message, tag: &str) -> Self {
        Self {
            call_id: invite.get("Call-ID").to_owned(),
            local: format!("{};tag={tag}", invite.get("To")),
            remote: invite.get("From").to_owned(),
            target: uri_of(invite.get("Contact")).to_owned(),
            routes: invite.all("Record-Route").map(str::to_owned).collect(),
            sequence: 0,
        }
    }

    /// Takes over what a response to our INVITE tells of the other side: a success, or one before it, which makes an early
    /// dialog.
    pub(crate) fn learn(&mut self, response: &Message) {
        if parameter(response.get("To"), "tag").is_some() {
            response.get("To").clone_into(&mut self.remote);
        }
        self.refresh(response);
        // The caller sees the route from the other end.
        self.routes = response.all("Record-Route").rev().map(str::to_owned).collect();
    }

    /// Takes over a new Contact from a message within the call.
    pub(crate) fn refresh(&mut self, message: &Message) {
        if !message.get("Contact").is_empty() {
            uri_of(message.get("Contact")).clone_into(&mut self.target);
        }
    }

    /// The next request within the call.
    pub(crate) fn request(&mut self, method: &str) -> Message {
        self.sequence += 1;
        self.numbered(method, self.sequence)
    }

    /// The acknowledgement of a success, which has the number of its INVITE.
    pub(crate) fn ack(&self, number: u32) -> Message {
        self.numbered("ACK", number)
    }

    fn numbered(&self, method: &str, number: u32) -> Message {
        let mut request = Message::request(method, &self.target);
        for route in &self.routes {
            request.push("Route", route);
        }
        request.push("From", &self.local);
        request.push("To", &self.remote);
        request.push("Call-ID", &self.call_id);
        request.push("CSeq", &format!("{number} {method}"));
        request
    }

    /// What another call's REFER names this one by (RFC 3891): the tags as the other side sees them.
    pub(crate) fn replaces(&self) -> String {
        let tag = |value| parameter(value, "tag").unwrap_or_default().to_owned();
        format!(
            "{}%3Bto-tag%3D{}%3Bfrom-tag%3D{}",
            self.call_id.replace('@', "%40"),
            tag(&self.remote),
            tag(&self.local)
        )
    }

    /// What marks our end.
    pub(crate) fn local_tag(&self) -> &str {
        parameter(&self.local, "tag").unwrap_or_default()
    }

    /// Where requests of this call go.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }
}
