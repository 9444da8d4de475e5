//! The part of a phone that speaks SIP: takes datagrams, answers them, and keeps what has to be repeated.
//!
//! Invariants: a request of ours is repeated until it is answered, an answer to an INVITE until it is acknowledged, both
//! within a bound; whatever is repeated by the other side gets the same answer again and changes nothing; all that a
//! phone ever sends goes to the one Asterisk that it belongs to.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::behaviour::Behaviour;
use super::caller::Caller;
use super::codec::Codec;
use super::description::{Equipment, Flow, KEY_SAMPLES, describe, event_packet, packet, time};
use super::dialog::Dialog;
use super::leg::{End, Leg, Phase, Step};
use super::message::{Message, Start, parameter, uri_of, user_of};
use crate::tone::Tone;

/// What a phone understands.
const ALLOWED: &str = "INVITE, ACK, CANCEL, BYE, NOTIFY, REFER, INFO, UPDATE, OPTIONS";
/// The first pause before something is said again, and the longest (T1 and T2 of RFC 3261, section 17).
const FIRST_REPEAT: Duration = Duration::from_millis(500);
const LAST_REPEAT: Duration = Duration::from_secs(4);
/// Nobody repeats for longer.
const REPEATS_END: Duration = Duration::from_secs(32);
/// Between a change of the media that met another one and the next try.
const GLARE: Duration = Duration::from_millis(200);

/// So often a packet of voice goes out.
pub(crate) const PACKET: Duration = Duration::from_millis(20);
/// What a machine that was busy elsewhere makes up for at once; after longer it goes on from now.
const LATE: Duration = Duration::from_secs(1);
/// A packet of voice is far shorter.
const LONGEST: usize = 2_048;

/// What a repeated datagram waits for.
#[derive(Debug, PartialEq, Eq)]
enum Awaited {
    /// A final response, or any response to an INVITE, with this branch.
    Response(String),
    /// The ACK of that call's INVITE.
    Ack(String, u32),
}

#[derive(Debug)]
struct Repeat {
    awaited: Awaited,
    text: String,
    next: Instant,
    pause: Duration,
    end: Instant,
}

/// Everything of a phone that its thread and its user share.
#[derive(Debug)]
pub(crate) struct Agent {
    socket: UdpSocket,
    address: SocketAddr,
    media: SocketAddr,
    /// Where voice is sent from; nobody listens to what comes back, unless the phone is told to.
    voice: UdpSocket,
    equipment: Equipment,
    says: Option<Tone>,
    listens: bool,
    next_packet: Instant,
    server: SocketAddr,
    /// The user part of the phone's own address.
    user: String,
    legs: BTreeMap<String, Leg>,
    repeats: Vec<Repeat>,
    behaviour: Behaviour,
    behaviours: BTreeMap<String, Behaviour>,
    transcript: Vec<(Instant, String)>,
}

impl Agent {
    pub(crate) fn new(user: &str, socket: UdpSocket, voice: UdpSocket, server: SocketAddr) -> Result<Self> {
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            media: voice.local_addr()?,
            voice,
            equipment: Equipment::default(),
            says: None,
            listens: false,
            next_packet: Instant::now(),
            server,
            user: user.to_owned(),
            legs: BTreeMap::new(),
            repeats: Vec::new(),
            behaviour: Behaviour::Ring,
            behaviours: BTreeMap::new(),
            transcript: Vec::new(),
        })
    }

    pub(crate) fn behave(&mut self, dialled: Option<&str>, behaviour: Behaviour) {
        match dialled {
            Some(number) => {
                self.behaviours.insert(number.to_owned(), behaviour);
            }
            None => self.behaviour = behaviour,
        }
    }

    pub(crate) fn hum(&mut self, tone: Option<Tone>) {
        self.says = tone;
    }

    pub(crate) fn equip(&mut self, codec: Codec) {
        self.equipment = Equipment { codec, keys: true };
    }

    pub(crate) fn listen(&mut self) -> Result<()> {
        self.voice.set_nonblocking(true)?;
        self.listens = true;
        Ok(())
    }

    pub(crate) fn transcript(&self) -> &[(Instant, String)] {
        &self.transcript
    }

    pub(crate) fn leg(&self, call_id: &str) -> Result<&Leg> {
        self.legs.get(call_id).context("this call is forgotten")
    }

    fn leg_mut(&mut self, call_id: &str) -> Result<&mut Leg> {
        self.legs.get_mut(call_id).context("this call is forgotten")
    }

    /// How many calls came to this number, or to any, since the last [`Agent::forget`].
    pub(crate) fn came(&self, dialled: Option<&str>) -> usize {
        self.legs
            .values()
            .filter(|leg| leg.incoming && dialled.is_none_or(|number| leg.dialled == number))
            .count()
    }

    /// The oldest call to this number, or to any, that nobody has in hand yet.
    pub(crate) fn take(&mut self, dialled: Option<&str>) -> Option<String> {
        let (call_id, leg) = self
            .legs
            .iter_mut()
            .filter(|(_, leg)| !leg.taken && dialled.is_none_or(|number| leg.dialled == number))
            .min_by_key(|(_, leg)| leg.began)?;
        leg.taken = true;
        Some(call_id.clone())
    }

    pub(crate) fn talks(&self) -> bool {
        self.legs.values().any(|leg| leg.phase == Phase::Talking)
    }

    /// Ends every call that is not over.
    pub(crate) fn end_all(&mut self) -> Result<()> {
        let open: Vec<String> = self
            .legs
            .iter()
            .filter(|(_, leg)| !leg.is_over())
            .map(|(call_id, _)| call_id.clone())
            .collect();
        open.iter().try_for_each(|call_id| self.hangup(call_id))
    }

    /// Forgets all calls and behaviours, as if it were new.
    pub(crate) fn forget(&mut self) {
        self.legs.clear();
        self.repeats.clear();
        self.behaviours.clear();
        self.behaviour = Behaviour::Ring;
        self.says = None;
        self.transcript.clear();
    }

    // What the user of the phone does.

    /// Begins a call and returns its Call-ID.
    pub(crate) fn call(&mut self, caller: Option<&Caller>, number: &str) -> Result<String> {
        let own = Caller::number(&self.user);
        let caller = caller.unwrap_or(&own);
        let call_id = format!("{}@{}", token(), self.address.ip());
        let host = if caller.anonymous {
            "anonymous.invalid".to_owned()
        } else {
            self.address.to_string()
        };
        let from = format!(
            "\"{}\" <sip:{}@{host}>;tag={}",
            caller.name,
            caller.number,
            token()
        );
        let uri = format!("sip:{number}@{}", self.server);
        let mut dialog = Dialog::outgoing(&call_id, &from, &uri);
        let mut invite = dialog.request("INVITE");
        if caller.anonymous {
            invite.push("Privacy", "id");
        }
        invite.carry(
            "application/sdp",
            &describe(self.media, self.equipment, 1, 1, Flow::Both),
        );
        let invite = self.ask(invite)?;
        let leg = Leg::new(dialog, false, number, &caller.number, invite);
        self.legs.insert(call_id.clone(), leg);
        Ok(call_id)
    }

    /// Ends a call in the way that its phase demands.
    pub(crate) fn hangup(&mut self, call_id: &str) -> Result<()> {
        let leg = self.leg_mut(call_id)?;
        leg.due = None;
        match (leg.phase, leg.incoming) {
            (Phase::Ended(_), _) => Ok(()),
            (Phase::Talking, _) => {
                leg.phase = Phase::Ended(End::Left);
                let bye = leg.dialog.request("BYE");
                self.ask(bye).map(drop)
            }
            (_, true) => self.refuse(call_id, 480),
            (_, false) => {
                leg.give_up = true;
                if leg.codes.is_empty() {
                    return Ok(());
                }
                self.cancel(call_id)
            }
        }
    }

    /// The CANCEL has the branch and the number of the INVITE that it takes back (RFC 3261, section 9.1).
    fn cancel(&mut self, call_id: &str) -> Result<()> {
        let invite = &self.leg(call_id)?.invite;
        let Start::Request { uri, .. } = &invite.start else {
            return Ok(());
        };
        let mut cancel = Message::request("CANCEL", uri);
        for name in ["Via", "From", "To", "Call-ID"] {
            cancel.push(name, invite.get(name));
        }
        let (number, _) = invite.sequence().context("our INVITE has no number")?;
        cancel.push("CSeq", &format!("{number} CANCEL"));
        cancel.push("Max-Forwards", "70");
        // Its response has the INVITE's branch too: the repetition is told apart by the method.
        let awaited = Awaited::Response(format!("CANCEL {}", cancel.branch()));
        self.send_repeated(&cancel, awaited)
    }

    pub(crate) fn ring(&mut self, call_id: &str) -> Result<()> {
        let leg = self.leg_mut(call_id)?;
        ensure!(
            leg.incoming && leg.phase == Phase::Calling,
            "a call that is {:?} cannot begin to ring",
            leg.phase
        );
        leg.phase = Phase::Ringing;
        let request = leg.invite.clone();
        self.say(&request, 180, None)
    }

    pub(crate) fn answer(&mut self, call_id: &str) -> Result<()> {
        let leg = self.leg_mut(call_id)?;
        ensure!(
            leg.incoming && matches!(leg.phase, Phase::Calling | Phase::Ringing),
            "a call that is {:?} cannot be answered",
            leg.phase
        );
        leg.phase = Phase::Talking;
        leg.due = None;
        let request = leg.invite.clone();
        self.say(&request, 200, Some(Flow::Both))
    }

    pub(crate) fn refuse(&mut self, call_id: &str, code: u16) -> Result<()> {
        let leg = self.leg_mut(call_id)?;
        ensure!(
            leg.incoming && matches!(leg.phase, Phase::Calling | Phase::Ringing),
            "a call that is {:?} cannot be refused",
            leg.phase
        );
        leg.phase = Phase::Ended(End::Left);
        leg.due = None;
        let request = leg.invite.clone();
        self.say(&request, code, None)
    }

    pub(crate) fn redirect(&mut self, call_id: &str, number: &str) -> Result<()> {
        let contact = format!("<sip:{number}@{}>", self.server);
        let leg = self.leg_mut(call_id)?;
        leg.phase = Phase::Ended(End::Left);
        let request = leg.invite.clone();
        let mut response = self.response(&request, 302);
        response.push("Contact", &contact);
        self.say_finally(&request, &response)
    }

    /// Asks for another direction of the media: hold and the end of it.
    pub(crate) fn change(&mut self, call_id: &str, flow: Flow) -> Result<()> {
        let (media, equipment) = (self.media, self.equipment);
        let leg = self.leg_mut(call_id)?;
        ensure!(
            leg.phase == Phase::Talking && !leg.changing,
            "a call that is {:?} cannot be held",
            leg.phase
        );
        leg.flow = flow;
        leg.version += 1;
        leg.changing = true;
        let mut invite = leg.dialog.request("INVITE");
        invite.carry(
            "application/sdp",
            &describe(media, equipment, 1, leg.version, flow),
        );
        self.ask(invite).map(drop)
    }

    /// Asks the other side to call somebody else in this call's stead: a number, or the other side of another call.
    pub(crate) fn refer(&mut self, call_id: &str, to: &str) -> Result<()> {
        let by = format!("<sip:{}@{}>", self.user, self.address);
        let leg = self.leg_mut(call_id)?;
        ensure!(
            leg.phase == Phase::Talking,
            "a call that is {:?} cannot be transferred",
            leg.phase
        );
        leg.reply = None;
        leg.transfer = None;
        let mut refer = leg.dialog.request("REFER");
        refer.push("Refer-To", to);
        refer.push("Referred-By", &by);
        self.ask(refer).map(drop)
    }

    /// Where a REFER for that number leads.
    pub(crate) fn number_at_server(&self, number: &str) -> String {
        format!("<sip:{number}@{}>", self.server)
    }

    /// Where a REFER leads that joins the first side of one call with that of another.
    pub(crate) fn in_stead_of(&self, call_id: &str) -> Result<String> {
        let dialog = &self.leg(call_id)?.dialog;
        let uri = dialog.target().split(';').next().unwrap_or_default();
        Ok(format!("<{uri}?Replaces={}>", dialog.replaces()))
    }

    /// Presses a key during a call: along with the voice, where both sides can, else by a request of its own. Says whether
    /// that request's answer is to be awaited.
    pub(crate) fn press(&mut self, call_id: &str, key: char) -> Result<bool> {
        let along = self.equipment.keys;
        let leg = self.leg_mut(call_id)?;
        ensure!(
            leg.phase == Phase::Talking,
            "no key can be pressed while the call is {:?}",
            leg.phase
        );
        if along && leg.events.is_some() {
            leg.keys.press(key)?;
            return Ok(false);
        }
        leg.reply = None;
        let mut info = leg.dialog.request("INFO");
        info.carry(
            "application/dtmf-relay",
            &format!("Signal={key}\r\nDuration=100\r\n"),
        );
        self.ask(info)?;
        Ok(true)
    }

    // What the other side does.

    pub(crate) fn receive(&mut self, datagram: &[u8]) -> Result<()> {
        let Some(message) = Message::parse(datagram) else {
            return Ok(());
        };
        self.note("<", &message);
        match message.start.clone() {
            Start::Request { method, .. } => self.asked(&method, &message),
            Start::Response { code, .. } => self.told(code, &message),
        }
    }

    fn asked(&mut self, method: &str, request: &Message) -> Result<()> {
        let call_id = request.get("Call-ID").to_owned();
        let Some(leg) = self.legs.get_mut(&call_id) else {
            return match method {
                "INVITE" if parameter(request.get("To"), "tag").is_none() => self.called(request),
                "ACK" => Ok(()),
                "OPTIONS" | "NOTIFY" => self.send_response(request, 200),
                _ => self.send_response(request, 481),
            };
        };
        match method {
            "INVITE" => self.asked_again(&call_id, request),
            "ACK" => {
                let number = request.sequence().map_or(0, |(number, _)| number);
                self.repeats
                    .retain(|repeat| repeat.awaited != Awaited::Ack(call_id.clone(), number));
                Ok(())
            }
            "CANCEL" => {
                let rings = leg.incoming && matches!(leg.phase, Phase::Calling | Phase::Ringing);
                let invite = leg.invite.clone();
                if rings {
                    leg.phase = Phase::Ended(End::Cancelled);
                    leg.due = None;
                }
                self.send_response(request, 200)?;
                if rings {
                    self.say(&invite, 487, None)?;
                }
                Ok(())
            }
            "BYE" => {
                if !leg.is_over() {
                    leg.phase = Phase::Ended(End::HungUp);
                    leg.due = None;
                }
                self.send_response(request, 200)
            }
            "NOTIFY" => {
                let status = request.body.strip_prefix("SIP/2.0 ");
                let code = status.and_then(|status| status.get(..3)?.parse::<u16>().ok());
                leg.transfer = code.or(leg.transfer);
                self.send_response(request, 200)?;
                // Whoever was transferred is in other hands; Asterisk waits for this side to leave.
                if code.is_some_and(|code| (200..300).contains(&code)) {
                    self.hangup(&call_id)?;
                }
                Ok(())
            }
            "UPDATE" if !request.body.is_empty() => {
                leg.dialog.refresh(request);
                let response = self.described(request, 200, Flow::answer_to(&request.body))?;
                self.send(&response)
            }
            _ => self.send_response(request, 200),
        }
    }

    /// A new call.
    fn called(&mut self, invite: &Message) -> Result<()> {
        let Start::Request { uri, .. } = &invite.start else {
            return Ok(());
        };
        let dialled = user_of(uri).to_owned();
        let behaviour = self.behaviours.get(&dialled).unwrap_or(&self.behaviour).clone();
        let dialog = Dialog::incoming(invite, &token());
        let call_id = dialog.call_id.clone();
        let caller = user_of(uri_of(invite.get("From"))).to_owned();
        let mut leg = Leg::new(dialog, true, &dialled, &caller, invite.clone());
        leg.hear_description(invite);
        self.legs.insert(call_id.clone(), leg);
        if behaviour != Behaviour::Silent {
            let response = self.response(invite, 100);
            self.send(&response)?;
        }
        let now = Instant::now();
        match behaviour {
            Behaviour::Ring => self.ring(&call_id),
            Behaviour::RingThenAnswer(after) => {
                self.leg_mut(&call_id)?.due = Some((now + after, Step::Answer));
                self.ring(&call_id)
            }
            Behaviour::Answer => self.answer(&call_id),
            Behaviour::Refuse(code) => self.refuse(&call_id, code),
            Behaviour::RingThenRefuse(after, code) => {
                self.leg_mut(&call_id)?.due = Some((now + after, Step::Refuse(code)));
                self.ring(&call_id)
            }
            Behaviour::Redirect(number) => self.redirect(&call_id, &number),
            Behaviour::Silent => Ok(()),
        }
    }

    /// An INVITE of a known call: the first one repeated, or a change of the media.
    fn asked_again(&mut self, call_id: &str, request: &Message) -> Result<()> {
        let number = request.sequence().map_or(0, |(number, _)| number);
        let leg = self.leg_mut(call_id)?;
        if let Some((answered, response)) = &leg.said
            && *answered == number
        {
            let response = response.clone();
            return self.send(&response);
        }
        let first = leg.invite.sequence().map_or(0, |(number, _)| number);
        if leg.incoming && number == first {
            // A silent phone stays silent.
            return Ok(());
        }
        if leg.is_over() {
            return self.send_response(request, 481);
        }
        if leg.changing {
            return self.say(request, 491, None);
        }
        leg.dialog.refresh(request);
        leg.hear_description(request);
        let flow = if request.body.is_empty() {
            leg.flow
        } else {
            Flow::answer_to(&request.body)
        };
        self.say(request, 200, Some(flow))
    }

    fn told(&mut self, code: u16, response: &Message) -> Result<()> {
        let call_id = response.get("Call-ID").to_owned();
        let Some((number, method)) = response.sequence() else {
            return Ok(());
        };
        let mut branch = response.branch().to_owned();
        if method == "CANCEL" {
            branch = format!("CANCEL {branch}");
        }
        // A provisional response ends the repetition of an INVITE only (RFC 3261, section 17.1).
        if code >= 200 || method == "INVITE" {
            let awaited = Awaited::Response(branch);
            self.repeats.retain(|repeat| repeat.awaited != awaited);
        }
        let Some(leg) = self.legs.get_mut(&call_id) else {
            // The last words of a call that was forgotten.
            return Ok(());
        };
        match method {
            "INVITE" if leg.invite.sequence().is_some_and(|(first, _)| first == number) && !leg.incoming => {
                self.told_of_call(code, response)
            }
            "INVITE" if code >= 200 => self.told_of_change(code, response),
            "REFER" | "INFO" if code >= 200 => {
                leg.reply = Some(code);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn told_of_call(&mut self, code: u16, response: &Message) -> Result<()> {
        let call_id = response.get("Call-ID").to_owned();
        let number = response.sequence().map_or(0, |(number, _)| number);
        let leg = self.leg_mut(&call_id)?;
        let before = leg.phase;
        leg.codes.push(code);
        if code > 100 && code < 300 {
            leg.dialog.learn(response);
            leg.hear_description(response);
        }
        match code {
            ..180 | 181..=182 | 184..200 => {}
            180 | 183 => {
                if before == Phase::Calling {
                    leg.phase = Phase::Ringing;
                }
            }
            200..300 => {
                let ack = leg.dialog.ack(number);
                if matches!(before, Phase::Calling | Phase::Ringing) {
                    leg.phase = Phase::Talking;
                }
                let crossed = leg.give_up && leg.phase == Phase::Talking;
                self.send_in_own_transaction(ack)?;
                // The answer and the CANCEL have crossed each other.
                if crossed {
                    self.hangup(&call_id)?;
                }
                return Ok(());
            }
            _ => {
                if !leg.is_over() {
                    leg.phase = Phase::Ended(End::Refused(code));
                }
                return self.acknowledge_refusal(response);
            }
        }
        let leg = self.leg(&call_id)?;
        if leg.give_up && leg.codes.len() == 1 {
            return self.cancel(&call_id);
        }
        Ok(())
    }

    fn told_of_change(&mut self, code: u16, response: &Message) -> Result<()> {
        let call_id = response.get("Call-ID").to_owned();
        let number = response.sequence().map_or(0, |(number, _)| number);
        let leg = self.leg_mut(&call_id)?;
        if code < 300 {
            leg.changing = false;
            leg.dialog.refresh(response);
            let ack = leg.dialog.ack(number);
            return self.send_in_own_transaction(ack);
        }
        if code == 491 {
            leg.due = Some((Instant::now() + GLARE, Step::Change));
        } else {
            leg.changing = false;
        }
        self.acknowledge_refusal(response)
    }

    /// The ACK of a refusal belongs to the INVITE's own transaction (RFC 3261, section 17.1.1.3).
    fn acknowledge_refusal(&mut self, response: &Message) -> Result<()> {
        let leg = self.leg(response.get("Call-ID"))?;
        let number = response.sequence().map_or(0, |(number, _)| number);
        let mut ack = Message::request("ACK", leg.dialog.target());
        for name in ["Via", "From", "To", "Call-ID"] {
            ack.push(name, response.get(name));
        }
        ack.push("CSeq", &format!("{number} ACK"));
        ack.push("Max-Forwards", "70");
        self.send(&ack)
    }

    // Time.

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<()> {
        self.repeats.retain(|repeat| now < repeat.end);
        for repeat in &mut self.repeats {
            if now >= repeat.next {
                repeat.pause = (repeat.pause * 2).min(LAST_REPEAT);
                repeat.next = now + repeat.pause;
                self.socket.send_to(repeat.text.as_bytes(), self.server)?;
            }
        }
        let due: Vec<(String, Step)> = self
            .legs
            .iter_mut()
            .filter_map(|(call_id, leg)| {
                let (_, step) = leg.due.take_if(|(at, _)| *at <= now)?;
                Some((call_id.clone(), step))
            })
            .collect();
        for (call_id, step) in due {
            match step {
                Step::Answer => self.answer(&call_id)?,
                Step::Refuse(code) => self.refuse(&call_id, code)?,
                Step::Change => {
                    let leg = self.leg_mut(&call_id)?;
                    leg.changing = false;
                    let flow = leg.flow;
                    if !leg.is_over() {
                        self.change(&call_id, flow)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Speaks, silently unless it was told to say something, into every call that goes on: Asterisk shortens a path
    /// through its own channels only when voice comes along it. As much is said as time has passed, however late.
    pub(crate) fn speak(&mut self, now: Instant) -> Result<()> {
        if now.saturating_duration_since(self.next_packet) > LATE {
            self.next_packet = now;
        }
        while now >= self.next_packet {
            self.next_packet += PACKET;
            for leg in self.legs.values_mut() {
                if let Some(voice) = leg.voice
                    && leg.phase == Phase::Talking
                    && leg.flow.sends()
                {
                    let (codec, number) = (self.equipment.codec, leg.packets);
                    let key = leg.keys.next(time(codec, number), KEY_SAMPLES).zip(leg.events);
                    let packet = match key {
                        Some((event, kind)) => event_packet(kind, number, event),
                        None => packet(codec, number, self.says),
                    };
                    self.voice.send_to(&packet, voice)?;
                    leg.packets = leg.packets.wrapping_add(1);
                }
            }
        }
        Ok(())
    }

    /// Takes in what was said to it, by whom it came from.
    pub(crate) fn hear(&mut self, now: Instant) -> Result<()> {
        let mut buffer = [0; LONGEST];
        while self.listens {
            let (length, from) = match self.voice.recv_from(&mut buffer) {
                Ok(heard) => heard,
                // The other side is gone: its end of the call will be, too.
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => continue,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
                Err(e) => return Err(e.into()),
            };
            let mut legs = self.legs.values_mut();
            // A caller hears what is said before the call is answered, too.
            if let Some(leg) = legs.find(|leg| leg.voice == Some(from) && !leg.is_over()) {
                leg.ears.hear(&buffer[..length], now);
            }
        }
        Ok(())
    }

    // Sending.

    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.address)
    }

    /// Sends a request in a transaction of its own, again and again until it is answered.
    fn ask(&mut self, request: Message) -> Result<Message> {
        let request = self.in_own_transaction(request);
        let awaited = Awaited::Response(request.branch().to_owned());
        self.send_repeated(&request, awaited)?;
        Ok(request)
    }

    fn in_own_transaction(&self, mut request: Message) -> Message {
        let via = format!("SIP/2.0/UDP {};rport;branch=z9hG4bK{}", self.address, token());
        request.push("Via", &via);
        request.push("Contact", &self.contact());
        request.push("Max-Forwards", "70");
        request.push("Allow", ALLOWED);
        request.push("Supported", "replaces");
        request
    }

    fn send_in_own_transaction(&mut self, request: Message) -> Result<()> {
        let request = self.in_own_transaction(request);
        self.send(&request)
    }

    fn response(&self, request: &Message, code: u16) -> Message {
        // A tag of the call's own, so that every response has the same.
        let tag = self
            .legs
            .get(request.get("Call-ID"))
            .map_or_else(token, |leg| leg.dialog.local_tag().to_owned());
        Message::response(request, code, &tag)
    }

    fn send_response(&mut self, request: &Message, code: u16) -> Result<()> {
        let response = self.response(request, code);
        self.send(&response)
    }

    fn described(&mut self, request: &Message, code: u16, flow: Flow) -> Result<Message> {
        let mut response = self.response(request, code);
        response.push("Contact", &self.contact());
        response.push("Allow", ALLOWED);
        let (media, equipment) = (self.media, self.equipment);
        let leg = self.leg_mut(request.get("Call-ID"))?;
        leg.version += 1;
        response.carry(
            "application/sdp",
            &describe(media, equipment, 1, leg.version, flow),
        );
        Ok(response)
    }

    /// Responds to an INVITE, and remembers it for the case that the INVITE comes again.
    fn say(&mut self, request: &Message, code: u16, flow: Option<Flow>) -> Result<()> {
        let response = match flow {
            Some(flow) => self.described(request, code, flow)?,
            None => {
                let mut response = self.response(request, code);
                response.push("Contact", &self.contact());
                // While it rings Asterisk tells a phone of a change only by UPDATE.
                response.push("Allow", ALLOWED);
                response
            }
        };
        if code >= 200 {
            return self.say_finally(request, &response);
        }
        self.remember(request, &response)?;
        self.send(&response)
    }

    fn say_finally(&mut self, request: &Message, response: &Message) -> Result<()> {
        self.remember(request, response)?;
        let number = request.sequence().map_or(0, |(number, _)| number);
        let awaited = Awaited::Ack(request.get("Call-ID").to_owned(), number);
        self.send_repeated(response, awaited)
    }

    fn remember(&mut self, request: &Message, response: &Message) -> Result<()> {
        let number = request.sequence().map_or(0, |(number, _)| number);
        self.leg_mut(request.get("Call-ID"))?.said = Some((number, response.clone()));
        Ok(())
    }

    fn send_repeated(&mut self, message: &Message, awaited: Awaited) -> Result<()> {
        let now = Instant::now();
        self.repeats.push(Repeat {
            awaited,
            text: message.write(),
            next: now + FIRST_REPEAT,
            pause: FIRST_REPEAT,
            end: now + REPEATS_END,
        });
        self.send(message)
    }

    fn send(&mut self, message: &Message) -> Result<()> {
        self.note(">", message);
        self.socket
            .send_to(message.write().as_bytes(), self.server)
            .with_context(|| format!("cannot send to {}", self.server))?;
        Ok(())
    }

    /// Notes what went wrong where nobody can be told.
    pub(crate) fn complain(&mut self, error: &anyhow::Error) {
        self.transcript.push((Instant::now(), format!("! {error:#}")));
    }

    fn note(&mut self, direction: &str, message: &Message) {
        self.transcript
            .push((Instant::now(), format!("{direction} {}", message.summary())));
    }
}

/// A word that nobody else says.
fn token() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(16).collect()
}
