//! One call of a phone, in a test's hand.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::Shared;
use super::agent::PACKET;
use super::description::Flow;
use super::ears::Reception;
use super::leg::{End, Phase};
use crate::tone::{Sound, Tone};

/// A place in what was heard in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard(usize);

impl Heard {
    /// From the first word on.
    pub const ALL: Self = Self(0);
}

/// One call of a phone. It stays the phone's: dropping this ends nothing.
#[derive(Clone, Debug)]
#[must_use]
pub struct Line {
    shared: Arc<Shared>,
    call_id: String,
}

impl Line {
    pub(crate) fn new(shared: &Arc<Shared>, call_id: String) -> Self {
        Self {
            shared: Arc::clone(shared),
            call_id,
        }
    }

    /// How far the call has come.
    ///
    /// # Errors
    /// When the phone has forgotten it.
    pub fn phase(&self) -> Result<Phase> {
        Ok(self.shared.agent().leg(&self.call_id)?.phase)
    }

    /// The number that was dialled; empty when the phone has forgotten the call.
    #[must_use]
    pub fn dialled(&self) -> String {
        let agent = self.shared.agent();
        agent
            .leg(&self.call_id)
            .map_or_else(|_| String::new(), |leg| leg.dialled.clone())
    }

    /// The number of the caller, as the call began; empty when the phone has forgotten the call.
    #[must_use]
    pub fn caller(&self) -> String {
        let agent = self.shared.agent();
        agent
            .leg(&self.call_id)
            .map_or_else(|_| String::new(), |leg| leg.caller.clone())
    }

    /// A header of the request that began the call; empty where there is none, or the phone has forgotten the call.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let agent = self.shared.agent();
        let header = agent.leg(&self.call_id).map(|leg| leg.invite.get(name));
        header.unwrap_or_default().to_owned()
    }

    /// The caller's name, as the call began; empty where there is none, or the phone has forgotten the call.
    #[must_use]
    pub fn caller_name(&self) -> String {
        let agent = self.shared.agent();
        let from = agent.leg(&self.call_id).map(|leg| leg.invite.get("From"));
        let (name, _) = from.unwrap_or_default().split_once('<').unwrap_or_default();
        name.trim().trim_matches('"').to_owned()
    }

    /// Whether the other side was said to ring.
    ///
    /// # Errors
    /// When the phone has forgotten the call.
    pub fn has_rung(&self) -> Result<bool> {
        let agent = self.shared.agent();
        Ok(agent
            .leg(&self.call_id)?
            .codes
            .iter()
            .any(|code| matches!(code, 180 | 183)))
    }

    /// Waits until it rings.
    ///
    /// # Errors
    /// When it does not, or the call is answered or over without having rung.
    pub fn wait_ringing(&self) -> Result<()> {
        self.wait("a call that rings", |phase| match phase {
            Phase::Calling => Ok(false),
            Phase::Ringing => Ok(true),
            other => bail!("the call is {other:?} and does not ring"),
        })
    }

    /// Waits until it is answered.
    ///
    /// # Errors
    /// When it is not, or the call ends instead.
    pub fn wait_answered(&self) -> Result<()> {
        self.wait("an answered call", |phase| match phase {
            Phase::Calling | Phase::Ringing => Ok(false),
            Phase::Talking => Ok(true),
            Phase::Ended(end) => bail!("the call ended ({end:?}) and was not answered"),
        })
    }

    /// Waits until it is over.
    ///
    /// # Errors
    /// When it goes on.
    pub fn wait_ended(&self) -> Result<End> {
        self.shared.until("the end of a call", |agent| {
            match agent.leg(&self.call_id)?.phase {
                Phase::Ended(end) => Ok(Some(end)),
                _ => Ok(None),
            }
        })
    }

    /// Waits until it is refused with that code: the end of a call that this phone made and nobody answered.
    ///
    /// # Errors
    /// When it ends otherwise or goes on.
    pub fn wait_refused(&self, code: u16) -> Result<()> {
        self.wait_ended_as(End::Refused(code))
    }

    /// Waits until the other side hangs up.
    ///
    /// # Errors
    /// When it ends otherwise or goes on.
    pub fn wait_hung_up(&self) -> Result<()> {
        self.wait_ended_as(End::HungUp)
    }

    /// Waits until the caller has given up, or somebody else has taken the call.
    ///
    /// # Errors
    /// When it ends otherwise or goes on.
    pub fn wait_cancelled(&self) -> Result<()> {
        self.wait_ended_as(End::Cancelled)
    }

    fn wait_ended_as(&self, wanted: End) -> Result<()> {
        let end = self.wait_ended()?;
        ensure!(
            end == wanted,
            "the call ended as {end:?} and not as {wanted:?}; {}",
            self.shared.transcript()
        );
        Ok(())
    }

    fn wait(&self, what: &str, mut enough: impl FnMut(Phase) -> Result<bool>) -> Result<()> {
        self.shared.until(what, |agent| {
            Ok(enough(agent.leg(&self.call_id)?.phase)?.then_some(()))
        })
    }

    /// Rings, where the phone was told to do nothing by itself.
    ///
    /// # Errors
    /// When the call is too far for that.
    pub fn ring(&self) -> Result<()> {
        self.shared.agent().ring(&self.call_id)
    }

    /// Answers.
    ///
    /// # Errors
    /// When the call is too far for that.
    pub fn answer(&self) -> Result<()> {
        self.shared.agent().answer(&self.call_id)
    }

    /// Answers at the same moment as another phone: neither hears of the other's answer before it has given its own.
    ///
    /// # Errors
    /// When one of the calls is too far for that.
    pub fn answer_with(&self, other: &Self) -> Result<()> {
        let (mut mine, mut others) = (self.shared.agent(), other.shared.agent());
        mine.answer(&self.call_id)?;
        others.answer(&other.call_id)
    }

    /// Refuses with that code.
    ///
    /// # Errors
    /// When the call is too far for that.
    pub fn refuse(&self, code: u16) -> Result<()> {
        self.shared.agent().refuse(&self.call_id, code)
    }

    /// Hangs up, gives up or refuses, whatever the phase demands. Nothing, when the call is over.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn hangup(&self) -> Result<()> {
        self.shared.agent().hangup(&self.call_id)
    }

    /// Lets the call be as it is for that long: somebody talks. It must last so long.
    ///
    /// # Errors
    /// When it is over before.
    pub fn talk(&self, time: Duration) -> Result<()> {
        self.wait_answered()?;
        thread::sleep(time);
        let phase = self.phase()?;
        ensure!(
            phase == Phase::Talking,
            "the call is {phase:?} before the talk was over; {}",
            self.shared.transcript()
        );
        Ok(())
    }

    /// How much this phone has said in the call, be it silence.
    ///
    /// # Errors
    /// When the phone has forgotten it.
    pub fn said(&self) -> Result<Duration> {
        Ok(PACKET * u32::from(self.shared.agent().leg(&self.call_id)?.packets))
    }

    /// What this phone has heard in the call since it listens.
    ///
    /// # Errors
    /// When the phone has forgotten it.
    pub fn heard(&self) -> Result<Sound> {
        self.heard_since(Heard::ALL)
    }

    /// How much it has heard up to now: what comes from here on is [`Line::heard_since`].
    ///
    /// # Errors
    /// When the phone has forgotten it.
    pub fn hears_from_here(&self) -> Result<Heard> {
        Ok(Heard(self.shared.agent().leg(&self.call_id)?.ears.place()))
    }

    /// What this phone has heard in the call since then.
    ///
    /// # Errors
    /// When the phone has forgotten it.
    pub fn heard_since(&self, place: Heard) -> Result<Sound> {
        Ok(self.shared.agent().leg(&self.call_id)?.ears.sound(place.0))
    }

    /// Waits until it has heard that tone for so long since then, however that time was cut into pieces.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_hears(&self, tone: Tone, time: Duration, since: Heard) -> Result<()> {
        let what = format!("{} ms of a tone of {} Hz", time.as_millis(), tone.0);
        self.shared.until(&what, |agent| {
            let sound = agent.leg(&self.call_id)?.ears.sound(since.0);
            Ok((sound.presence(tone) >= time).then_some(()))
        })
    }

    /// Waits until nothing has come for so long.
    ///
    /// # Errors
    /// When something always comes.
    pub fn wait_quiet(&self, time: Duration) -> Result<()> {
        self.shared.until("an end of the voice", |agent| {
            let last = agent.leg(&self.call_id)?.ears.last();
            Ok(last.is_none_or(|at| at.elapsed() >= time).then_some(()))
        })
    }

    /// How whole the voice came that this phone has heard in the call since it listens.
    ///
    /// # Errors
    /// When the phone has forgotten it.
    pub fn reception(&self) -> Result<Reception> {
        Ok(self.shared.agent().leg(&self.call_id)?.ears.reception)
    }

    /// Puts the other side on hold.
    ///
    /// # Errors
    /// When the call is not answered, or the other side does not agree.
    pub fn hold(&self) -> Result<()> {
        self.change(Flow::SendOnly)
    }

    /// Takes the other side off hold.
    ///
    /// # Errors
    /// When the call is not answered, or the other side does not agree.
    pub fn unhold(&self) -> Result<()> {
        self.change(Flow::Both)
    }

    fn change(&self, flow: Flow) -> Result<()> {
        self.shared.agent().change(&self.call_id, flow)?;
        self.shared.until("the other side's consent", |agent| {
            Ok((!agent.leg(&self.call_id)?.changing).then_some(()))
        })
    }

    /// Presses these keys, one after another, and returns when the last is released: along with the voice when the phone is
    /// equipped for that ([`super::Phone::equip`]) and the other side agreed, else by INFO.
    ///
    /// # Errors
    /// When the other side does not take one, or the call ends before.
    pub fn press(&self, keys: &str) -> Result<()> {
        for key in keys.chars() {
            if self.shared.agent().press(&self.call_id, key)? {
                let code = self.reply(&format!("the answer to the key {key}"))?;
                ensure!(code == 200, "the key {key} was answered with {code}");
            }
        }
        self.shared.until("the release of a key", |agent| {
            let leg = agent.leg(&self.call_id)?;
            ensure!(
                leg.phase == Phase::Talking || leg.keys.done(),
                "the call is {:?}, and not all of {keys} is pressed",
                leg.phase
            );
            Ok(leg.keys.done().then_some(()))
        })
    }

    /// Asks the other side to call that number in this call's stead: a blind transfer. How it goes on tells
    /// [`Line::wait_transferred`].
    ///
    /// # Errors
    /// When the call is not answered, or the other side does not agree.
    pub fn transfer(&self, number: &str) -> Result<()> {
        {
            let mut agent = self.shared.agent();
            let to = agent.number_at_server(number);
            agent.refer(&self.call_id, &to)?;
        }
        self.agreed()
    }

    /// Asks the other side to join this call's first side with that of `other`, another call of this phone: an attended
    /// transfer.
    ///
    /// # Errors
    /// When the call is not answered, or the other side does not agree.
    pub fn transfer_to(&self, other: &Self) -> Result<()> {
        {
            let mut agent = self.shared.agent();
            let to = agent.in_stead_of(&other.call_id)?;
            agent.refer(&self.call_id, &to)?;
        }
        self.agreed()
    }

    fn agreed(&self) -> Result<()> {
        let code = self.reply("the answer to a transfer")?;
        ensure!(code == 202, "the transfer was answered with {code}");
        Ok(())
    }

    /// Waits for the other side's last word on the transfer. After a 200 the phone has left the call, as phones do; after
    /// anything else the call goes on.
    ///
    /// # Errors
    /// When it says none.
    pub fn wait_transferred(&self) -> Result<u16> {
        self.shared.until("the end of a transfer", |agent| {
            Ok(agent.leg(&self.call_id)?.transfer.filter(|code| *code >= 200))
        })
    }

    fn reply(&self, what: &str) -> Result<u16> {
        self.shared
            .until(what, |agent| Ok(agent.leg(&self.call_id)?.reply))
    }
}
