//! A SIP phone that a test programs: it calls, is called, holds, transfers and presses keys, with several calls at once.
//!
//! Invariants: one phone is one socket and one thread, and both are gone when it is dropped, after a word of farewell to
//! every call that is not over; every wait has a bound, and its error tells what was said over the wire.

mod agent;
mod behaviour;
mod caller;
mod codec;
mod description;
mod dialog;
mod ears;
mod keys;
mod leg;
mod line;
mod message;

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::tone::Tone;
use crate::until;
use agent::Agent;
pub use behaviour::Behaviour;
pub use caller::Caller;
pub use codec::Codec;
pub use ears::Reception;
pub use leg::{End, Phase};
pub use line::{Heard, Line};

/// Long for a loaded machine; what a phone waits for takes milliseconds or as long as the dialplan says.
pub(crate) const BOUND: Duration = Duration::from_secs(30);
/// How often a phone that hears nothing looks what is due.
const GLANCE: Duration = Duration::from_millis(10);
/// A datagram is never longer.
const LONGEST: usize = 65_536;

/// What a phone's thread, the phone and its lines share.
#[derive(Debug)]
pub(crate) struct Shared {
    name: String,
    agent: Mutex<Agent>,
    over: AtomicBool,
}

impl Shared {
    pub(crate) fn agent(&self) -> MutexGuard<'_, Agent> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something about this phone, and shows on failure what it heard and said.
    pub(crate) fn until<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&mut Agent) -> Result<Option<T>>,
    ) -> Result<T> {
        until(what, BOUND, || look(&mut self.agent())).with_context(|| self.transcript())
    }

    pub(crate) fn transcript(&self) -> String {
        let agent = self.agent();
        let lines = agent.transcript().iter().map(|(_, line)| format!("  {line}\n"));
        format!(
            "the phone {} said (>) and heard (<):\n{}",
            self.name,
            lines.collect::<String>()
        )
    }
}

/// A phone, or the provider's switch. Dropping it ends its calls.
#[derive(Debug)]
pub struct Phone {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Phone {
    /// A phone at that address that speaks to that Asterisk only. `user` is the number that it calls as, unless it says
    /// otherwise.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn open(user: &str, address: SocketAddr, server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(address).with_context(|| format!("no phone can be at {address}"))?;
        let heard = socket.try_clone()?;
        heard.set_read_timeout(Some(GLANCE))?;
        let voice = UdpSocket::bind((address.ip(), 0))?;
        let shared = Arc::new(Shared {
            name: user.to_owned(),
            agent: Mutex::new(Agent::new(user, socket, voice, server)?),
            over: AtomicBool::new(false),
        });
        let thread = thread::Builder::new().name(format!("phone {user}")).spawn({
            let shared = Arc::clone(&shared);
            move || live(&shared, &heard)
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// What it does by itself from now on when it is called; rings, without further word.
    pub fn will(&self, behaviour: Behaviour) {
        self.shared.agent().behave(None, behaviour);
    }

    /// What it does when that number was dialled: a provider's switch stands for many.
    pub fn will_for(&self, dialled: &str, behaviour: Behaviour) {
        self.shared.agent().behave(Some(dialled), behaviour);
    }

    /// What it says in its calls from now on: a tone, or nothing.
    pub fn say(&self, tone: Option<Tone>) {
        self.shared.agent().hum(tone);
    }

    /// From now on its calls have that codec, and its keys go along with the voice (RFC 4733), where Asterisk agrees.
    pub fn equip(&self, codec: Codec) {
        self.shared.agent().equip(codec);
    }

    /// From now on it keeps what it hears: [`Line::heard`], [`Line::reception`].
    ///
    /// # Errors
    /// When its socket does not obey.
    pub fn listen(&self) -> Result<()> {
        self.shared.agent().listen()
    }

    /// Calls that number.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn call(&self, number: &str) -> Result<Line> {
        let call_id = self.shared.agent().call(None, number)?;
        Ok(Line::new(&self.shared, call_id))
    }

    /// Calls that number as somebody else: a provider's switch has many callers behind it.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn call_as(&self, caller: &Caller, number: &str) -> Result<Line> {
        let call_id = self.shared.agent().call(Some(caller), number)?;
        Ok(Line::new(&self.shared, call_id))
    }

    /// The next call that comes, or that came and was not asked for yet.
    ///
    /// # Errors
    /// When none comes.
    pub fn expect_call(&self) -> Result<Line> {
        let call_id = self.shared.until("a call", |agent| Ok(agent.take(None)))?;
        Ok(Line::new(&self.shared, call_id))
    }

    /// The next call for that number.
    ///
    /// # Errors
    /// When none comes.
    pub fn expect_call_to(&self, dialled: &str) -> Result<Line> {
        let what = format!("a call to {dialled}");
        let call_id = self.shared.until(&what, |agent| Ok(agent.take(Some(dialled))))?;
        Ok(Line::new(&self.shared, call_id))
    }

    /// How many calls came since the last [`Phone::reset`].
    #[must_use]
    pub fn came(&self) -> usize {
        self.shared.agent().came(None)
    }

    /// How many calls came for that number.
    #[must_use]
    pub fn came_to(&self, dialled: &str) -> usize {
        self.shared.agent().came(Some(dialled))
    }

    /// Whether somebody talks on it now.
    #[must_use]
    pub fn talks(&self) -> bool {
        self.shared.agent().talks()
    }

    /// Ends every call that is not over.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn hangup_all(&self) -> Result<()> {
        self.shared.agent().end_all()
    }

    /// Ends every call, and forgets them and how it was to behave.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn reset(&self) -> Result<()> {
        self.shared.agent().end_all()?;
        self.shared.agent().forget();
        Ok(())
    }

    /// Every message of the calls since the last [`Phone::reset`], and when it went by.
    #[must_use]
    pub fn transcript(&self) -> Vec<(Instant, String)> {
        self.shared.agent().transcript().to_vec()
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        // There is nobody to tell of a failure any more.
        let _ = self.hangup_all();
        self.shared.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Hears and does what is due until the phone is dropped.
fn live(shared: &Shared, heard: &UdpSocket) -> Result<()> {
    let mut datagram = vec![0; LONGEST];
    while !shared.over.load(Ordering::Acquire) {
        let length = match heard.recv(&mut datagram) {
            Ok(length) => length,
            // A refused connection is the echo of something that was sent to an Asterisk that is gone.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock
                        | ErrorKind::TimedOut
                        | ErrorKind::Interrupted
                        | ErrorKind::ConnectionRefused
                ) =>
            {
                0
            }
            Err(e) => return Err(e.into()),
        };
        let mut agent = shared.agent();
        // What went wrong with one datagram shows in the wait of the test that it matters to.
        let heard = agent.receive(&datagram[..length]);
        let now = Instant::now();
        let done = agent.tick(now);
        let spoken = agent.speak(now).and_then(|()| agent.hear(now));
        for error in [heard, done, spoken].into_iter().filter_map(Result::err) {
            agent.complain(&error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::free_udp_port;

    /// Two phones that call each other directly stand for an Asterisk between them.
    fn pair() -> (Phone, Phone) {
        let [one, two] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_udp_port())));
        (
            Phone::open("101", one, two).unwrap(),
            Phone::open("102", two, one).unwrap(),
        )
    }

    #[test]
    fn a_call_is_answered_held_and_ended() {
        let (one, two) = pair();
        let line = one.call("102").unwrap();
        let other = two.expect_call().unwrap();
        line.wait_ringing().unwrap();
        assert_eq!(
            (other.dialled(), other.caller()),
            ("102".to_owned(), "101".to_owned())
        );
        other.answer().unwrap();
        line.wait_answered().unwrap();
        line.hold().unwrap();
        other.unhold().unwrap();
        other.press("1#").unwrap();
        line.hangup().unwrap();
        assert_eq!(other.wait_ended().unwrap(), End::HungUp);
        assert_eq!(line.wait_ended().unwrap(), End::Left);
    }

    #[test]
    fn each_hears_what_the_other_says() {
        let (one, two) = pair();
        let [low, high] = [440, 620].map(Tone);
        for (phone, tone) in [(&one, low), (&two, high)] {
            phone.say(Some(tone));
            phone.listen().unwrap();
        }
        two.will(Behaviour::Answer);
        let line = one.call("102").unwrap();
        let other = two.expect_call().unwrap();
        let enough = Duration::from_millis(500);
        for (line, hears, not) in [(&line, high, low), (&other, low, high)] {
            let heard = until("half a second of a tone", BOUND, || {
                Ok(Some(line.heard()?).filter(|heard| heard.presence(hears) >= enough))
            });
            assert_eq!(heard.unwrap().presence(not), Duration::ZERO);
        }
        assert!(line.said().unwrap() >= enough);
        let reception = line.reception().unwrap();
        assert_eq!((reception.packets >= 25, reception.lost), (true, 0));
        line.hangup().unwrap();
        other.wait_hung_up().unwrap();
    }

    #[test]
    fn keys_go_along_with_the_voice() {
        for codec in [Codec::Alaw, Codec::Ulaw, Codec::Wide] {
            let (one, two) = pair();
            let tone = Tone(440);
            one.say(Some(tone));
            for phone in [&one, &two] {
                phone.equip(codec);
                phone.listen().unwrap();
            }
            two.will(Behaviour::Answer);
            let line = one.call("102").unwrap();
            let other = two.expect_call().unwrap();
            line.wait_answered().unwrap();
            let place = other.hears_from_here().unwrap();
            let before = one.transcript().len();
            line.press("12#").unwrap();
            // Nothing was asked by SIP.
            assert_eq!(one.transcript().len(), before);
            other.wait_hears(tone, Duration::from_millis(500), place).unwrap();
            line.hangup().unwrap();
            other.wait_hung_up().unwrap();
            other.wait_quiet(Duration::from_millis(100)).unwrap();
        }
    }

    #[test]
    fn a_call_is_refused_given_up_and_redirected() {
        let (one, two) = pair();
        two.will(Behaviour::RingThenRefuse(Duration::from_millis(50), 603));
        one.call("102").unwrap().wait_refused(603).unwrap();
        two.will(Behaviour::BUSY);
        let line = one.call("102").unwrap();
        line.wait_refused(486).unwrap();
        assert!(!line.has_rung().unwrap());
        two.will_for("102", Behaviour::Redirect("103".to_owned()));
        one.call("102").unwrap().wait_refused(302).unwrap();
        two.will_for("102", Behaviour::Ring);
        two.reset().unwrap();
        let line = one.call("102").unwrap();
        let other = two.expect_call().unwrap();
        line.hangup().unwrap();
        line.wait_refused(487).unwrap();
        assert_eq!(other.wait_ended().unwrap(), End::Cancelled);
        assert_eq!(two.came(), 1);
    }

    #[test]
    fn a_dropped_phone_leaves_no_call_behind() {
        let (one, two) = pair();
        two.will(Behaviour::Answer);
        let talking = one.call("102").unwrap();
        talking.wait_answered().unwrap();
        two.will(Behaviour::Ring);
        let ringing = one.call("102").unwrap();
        ringing.wait_ringing().unwrap();
        drop(two);
        assert_eq!(talking.wait_ended().unwrap(), End::HungUp);
        ringing.wait_refused(480).unwrap();
    }
}
