//! What a caller is told, and what he says and presses.
//!
//! Invariants:
//! - everything here is done on the channel's own thread, which is that of a running application, and with the channel unlocked:
//!   Asterisk waits for frames, and a channel that is locked meanwhile stops whoever asks for it;
//! - a channel that is hung up, or that AMI sends elsewhere, ends each of these at once with [`HungUp`]. The application then has
//!   nothing to do but to return;
//! - what is played is stopped and the channel's formats are what they were before, whichever way it ends;
//! - a recording is at most as long as was asked for, in memory and by the clock, and ends when it must even if nothing is heard at
//!   all: phones that are muted send nothing.

use std::ffi::{CString, c_int};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::text;
use crate::sys;

/// After so long without a sound the phone is taken to send none: what it leaves out is silence. Frames come every 20 ms, and late
/// ones hardly later.
const PAUSE: Duration = Duration::from_millis(500);

/// What stays of the silence that ended a recording.
const BREATH: Duration = Duration::from_millis(200);

/// How long before its digit is known a key may have been heard: a tone must last 40 ms, and then is muted by whoever detects it.
const KEY: Duration = Duration::from_millis(60);

/// The channel is hung up, or wanted elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HungUp;

/// What became of a sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Played {
    /// It was played to its end.
    Whole,
    /// This digit, one of those that may, ended it.
    Digit(u8),
    /// There is no such sound, or none that can be read or that the channel can be sent.
    Missing,
}

/// What ends a recording, and how it is made.
#[derive(Clone, Copy, Debug)]
pub struct RecordLimits<'a> {
    /// Samples a second: 8000 or 16000.
    pub rate: u32,
    pub longest: Duration,
    /// So much silence in one piece ends it.
    pub silence: Option<Duration>,
    /// Silence is what is not louder than this, as in dsp.conf's `silencethreshold`.
    pub threshold: u32,
    /// The digits that end it.
    pub ends: &'a str,
}

/// What ended a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Digit(u8),
    Silence,
    Longest,
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Without the key or the silence that ended it.
    pub samples: Vec<i16>,
    pub why: Ended,
}

/// Asterisk's default language: `defaultlanguage` of asterisk.conf.
pub fn default_language() -> String {
    // SAFETY: an array of Asterisk's with a NUL-terminated string, set before the first module is loaded, never changed afterwards.
    unsafe { text::lossy((&raw const sys::ast_defaultlanguage).cast()).into_owned() }
}

fn milliseconds(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX)
}

/// What `shim_tell_*` returned.
fn told(result: c_int) -> Result<Played, HungUp> {
    match u8::try_from(result) {
        Ok(0) => Ok(Played::Whole),
        Ok(digit) => Ok(Played::Digit(digit)),
        Err(_) if result == sys::SHIM_TOLD_NOBODY => Err(HungUp),
        Err(_) => Ok(Played::Missing),
    }
}

impl Channel<'_> {
    /// It is answered.
    pub fn is_up(&self) -> bool {
        // SAFETY: a live channel, by the type's invariant.
        unsafe { sys::shim_channel_is_up(self.as_ptr()) != 0 }
    }

    /// Answers, where that is not done yet, and waits until something is heard, for half a second at most.
    ///
    /// # Errors
    ///
    /// The caller has gone.
    pub fn answer(&self) -> Result<(), HungUp> {
        if self.is_up() {
            return Ok(());
        }
        // SAFETY: a live channel, which is unlocked.
        match unsafe { sys::ast_answer(self.as_ptr()) } {
            0 => Ok(()),
            _ => Err(HungUp),
        }
    }

    /// Tells a caller who is not answered that there is something to hear, once. Without that PJSIP sends him nothing.
    pub fn progress(&self) {
        if self.progressed.replace(true) || self.is_up() {
            return;
        }
        let progress = c_int::try_from(sys::AST_CONTROL_PROGRESS).unwrap_or_default();
        // SAFETY: a live channel, which is unlocked. That its driver knows no such thing harms nothing.
        unsafe { sys::ast_indicate(self.as_ptr(), progress) };
    }

    /// `CHANNEL(language)`.
    pub fn language(&self) -> String {
        String::from_utf8_lossy(self.lock().language()).into_owned()
    }

    /// The caller is heard at 16 kHz or more.
    pub fn is_wideband(&self) -> bool {
        // SAFETY: a live channel, by the type's invariant.
        unsafe { sys::shim_channel_rate(self.as_ptr()) >= 16_000 }
    }

    /// Whether [`Channel::play`] would find the sound in that language or one that Asterisk takes for it.
    pub fn has_sound(&self, sound: &str, language: &str) -> bool {
        let (Ok(sound), Ok(language)) = (CString::new(sound), CString::new(language)) else {
            return false;
        };
        // SAFETY: two NUL-terminated strings.
        !sound.is_empty() && unsafe { sys::shim_sound_exists(sound.as_ptr(), language.as_ptr()) != 0 }
    }

    /// Plays a sound, which is a name below Asterisk's sounds or an absolute path, both without extension, until one of the digits
    /// in `breaks` is pressed. A caller who is not answered hears it, too.
    ///
    /// # Errors
    ///
    /// The caller has gone.
    pub fn play(&self, sound: &str, language: &str, breaks: &str) -> Result<Played, HungUp> {
        let Some(sound) = CString::new(sound).ok().filter(|sound| !sound.is_empty()) else {
            return Ok(Played::Missing);
        };
        self.tell(language, breaks, |language, breaks| {
            // SAFETY: a live channel, which is unlocked, and three NUL-terminated strings.
            unsafe { sys::shim_tell_sound(self.as_ptr(), sound.as_ptr(), language, breaks) }
        })
    }

    /// Says a number.
    ///
    /// # Errors
    ///
    /// The caller has gone.
    pub fn say_number(&self, number: u32, language: &str, breaks: &str) -> Result<Played, HungUp> {
        let number = c_int::try_from(number).unwrap_or(c_int::MAX);
        self.tell(language, breaks, |language, breaks| {
            // SAFETY: a live channel, which is unlocked, and two NUL-terminated strings.
            unsafe { sys::shim_tell_number(self.as_ptr(), number, language, breaks) }
        })
    }

    /// Says digits one by one.
    ///
    /// # Errors
    ///
    /// The caller has gone.
    pub fn say_digits(&self, digits: &str, language: &str, breaks: &str) -> Result<Played, HungUp> {
        let Ok(digits) = CString::new(digits) else {
            return Ok(Played::Missing);
        };
        self.tell(language, breaks, |language, breaks| {
            // SAFETY: a live channel, which is unlocked, and three NUL-terminated strings.
            unsafe { sys::shim_tell_digits(self.as_ptr(), digits.as_ptr(), language, breaks) }
        })
    }

    /// Says the day that these seconds since 1970 are in, in the machine's time zone.
    ///
    /// # Errors
    ///
    /// The caller has gone.
    pub fn say_date(&self, seconds: u64, language: &str, breaks: &str) -> Result<Played, HungUp> {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        self.tell(language, breaks, |language, breaks| {
            // SAFETY: a live channel, which is unlocked, and two NUL-terminated strings.
            unsafe { sys::shim_tell_date(self.as_ptr(), seconds, language, breaks) }
        })
    }

    /// Calls `say` with language and breaks for C, when the caller is ready to hear.
    fn tell(
        &self,
        language: &str,
        breaks: &str,
        say: impl FnOnce(*const std::ffi::c_char, *const std::ffi::c_char) -> c_int,
    ) -> Result<Played, HungUp> {
        let (Ok(language), Ok(breaks)) = (CString::new(language), CString::new(breaks)) else {
            return Ok(Played::Missing);
        };
        self.progress();
        told(say(language.as_ptr(), breaks.as_ptr()))
    }

    /// The next digit, when one is pressed in that time.
    ///
    /// # Errors
    ///
    /// The caller has gone.
    pub fn digit(&self, within: Duration) -> Result<Option<u8>, HungUp> {
        // SAFETY: a live channel, which is unlocked.
        let digit = unsafe { sys::ast_waitfordigit(self.as_ptr(), milliseconds(within)) };
        match u8::try_from(digit) {
            Ok(0) => Ok(None),
            Ok(digit) => Ok(Some(digit)),
            Err(_) if digit < 0 => Err(HungUp),
            // AMI's ControlPlayback, which is for who plays (`main/channel.c`, __ast_waitfordigit_full).
            Err(_) => Ok(None),
        }
    }

    /// Records what the caller says.
    ///
    /// # Errors
    ///
    /// The caller has gone; what he said is lost.
    pub fn record(&self, limits: &RecordLimits<'_>) -> Result<Recorded, HungUp> {
        let mut ear = Ear::open(self, limits.rate).ok_or(HungUp)?;
        let mut take = Take::new(limits);
        let begun = Instant::now();
        loop {
            let now = begun.elapsed();
            take.pause(now);
            if let Some(why) = take.is_over(now) {
                return Ok(take.end(why));
            }
            let patience = PAUSE.min(limits.longest.saturating_sub(now));
            match ear.listen(patience)? {
                Heard::Voice(samples) => take.voice(begun.elapsed(), samples),
                Heard::Press => take.press(),
                Heard::Release(digit) if limits.ends.bytes().any(|end| end == digit) => {
                    return Ok(take.end(Ended::Digit(digit)));
                }
                Heard::Release(_) | Heard::Nothing => {}
            }
        }
    }
}

/// What is heard of a channel.
enum Heard<'a> {
    Voice(&'a [i16]),
    /// A digit goes down.
    Press,
    /// And up again.
    Release(u8),
    Nothing,
}

/// A channel that is listened to.
///
/// Invariant: opened by `shim_ear_open` for a channel that outlives this, and closed by our drop alone.
struct Ear<'a> {
    ear: NonNull<sys::shim_ear>,
    /// A second of sound: longer frames than that there are not.
    samples: Vec<i16>,
    channel: std::marker::PhantomData<&'a Channel<'a>>,
}

impl<'a> Ear<'a> {
    /// `None` when there is no memory.
    fn open(channel: &'a Channel<'_>, rate: u32) -> Option<Self> {
        // SAFETY: a live channel, which is unlocked.
        let ear = unsafe { sys::shim_ear_open(channel.as_ptr(), c_int::try_from(rate).ok()?) };
        // INVARIANT: opened here, and the channel is borrowed for as long as this lives.
        Some(Self {
            ear: NonNull::new(ear)?,
            samples: vec![0; usize::try_from(rate).ok()?],
            channel: std::marker::PhantomData,
        })
    }

    fn listen(&mut self, patience: Duration) -> Result<Heard<'_>, HungUp> {
        let mut sound = sys::shim_sound {
            samples: self.samples.as_mut_ptr(),
            room: self.samples.len(),
            count: 0,
            digit: 0,
        };
        // Zero would not wait at all, and less for ever.
        let patience = milliseconds(patience).max(1);
        // SAFETY: open, by the type's invariant, on a channel that is unlocked; `samples` has room for as many as it says.
        match unsafe { sys::shim_ear_listen(self.ear.as_ptr(), patience, &raw mut sound) } {
            sys::SHIM_HEARD_END => Err(HungUp),
            sys::SHIM_HEARD_VOICE => Ok(Heard::Voice(self.samples.get(..sound.count).unwrap_or_default())),
            sys::SHIM_HEARD_PRESS => Ok(Heard::Press),
            sys::SHIM_HEARD_RELEASE => Ok(u8::try_from(sound.digit).map_or(Heard::Nothing, Heard::Release)),
            _ => Ok(Heard::Nothing),
        }
    }
}

impl Drop for Ear<'_> {
    fn drop(&mut self) {
        // SAFETY: open, by the type's invariant, and never used again.
        unsafe { sys::shim_ear_close(self.ear.as_ptr()) };
    }
}

/// A recording under way: what was heard, on the time line of who spoke. Times are since its beginning.
///
/// Invariants: `samples` has at most `most`; `quiet` of them at the end are silence, `pressed` is a place in them.
struct Take {
    rate: u32,
    longest: Duration,
    most: usize,
    /// In samples.
    silence: Option<usize>,
    threshold: u64,
    samples: Vec<i16>,
    quiet: usize,
    /// When something was heard last, or its absence was made up for.
    heard: Duration,
    /// The phone sends nothing at present.
    absent: bool,
    /// Where a key was heard first.
    pressed: Option<usize>,
}

/// So many samples are so long.
fn count(time: Duration, rate: u32) -> usize {
    usize::try_from(time.as_micros().saturating_mul(u128::from(rate)) / 1_000_000).unwrap_or(usize::MAX)
}

impl Take {
    fn new(limits: &RecordLimits<'_>) -> Self {
        Self {
            rate: limits.rate,
            longest: limits.longest,
            most: count(limits.longest, limits.rate),
            silence: limits
                .silence
                .map(|silence| count(silence, limits.rate))
                .filter(|silence| *silence > 0),
            threshold: u64::from(limits.threshold),
            samples: Vec::new(),
            quiet: 0,
            heard: Duration::ZERO,
            absent: false,
            pressed: None,
        }
    }

    /// Makes up for what a phone leaves out that sends no silence.
    fn pause(&mut self, now: Duration) {
        let missing = now.saturating_sub(self.heard);
        if missing >= PAUSE || self.absent {
            let missing = count(missing, self.rate).min(self.most - self.samples.len());
            self.samples.resize(self.samples.len() + missing, 0);
            self.quiet += missing;
            self.heard = now;
            self.absent = true;
        }
    }

    fn voice(&mut self, now: Duration, samples: &[i16]) {
        // A frame ends when it comes.
        let length = Duration::from_secs(samples.len() as u64) / self.rate.max(1);
        self.pause(now.saturating_sub(length));
        self.heard = now;
        self.absent = false;
        let room = self.most - self.samples.len();
        let samples = &samples[..samples.len().min(room)];
        if samples.is_empty() {
            return;
        }
        // As `ast_dsp_silence` measures it (main/dsp.c, __ast_dsp_silence_noise).
        let loudness: u64 = samples
            .iter()
            .map(|sample| u64::from(sample.unsigned_abs()))
            .sum();
        let silent = loudness / (samples.len() as u64) < self.threshold;
        self.quiet = if silent { self.quiet + samples.len() } else { 0 };
        self.samples.extend_from_slice(samples);
    }

    fn press(&mut self) {
        self.pressed = Some(self.samples.len().saturating_sub(count(KEY, self.rate)));
    }

    fn is_over(&self, now: Duration) -> Option<Ended> {
        if self.silence.is_some_and(|silence| self.quiet >= silence) {
            return Some(Ended::Silence);
        }
        (now >= self.longest || self.samples.len() >= self.most).then_some(Ended::Longest)
    }

    fn end(mut self, why: Ended) -> Recorded {
        let keep = match why {
            Ended::Longest => self.samples.len(),
            Ended::Silence => {
                let cut = self.quiet.saturating_sub(count(BREATH, self.rate));
                self.samples.len() - cut
            }
            Ended::Digit(_) => self.pressed.unwrap_or(self.samples.len()),
        };
        self.samples.truncate(keep);
        Recorded {
            samples: self.samples,
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RecordLimits<'static> = RecordLimits {
        rate: 8_000,
        longest: Duration::from_secs(10),
        silence: Some(Duration::from_secs(2)),
        threshold: 256,
        ends: "#",
    };

    /// A phone that sends 20 ms of sound at each of these milliseconds, and when its recording was over.
    fn phone(take: &mut Take, sends: impl Fn(u64) -> bool) -> Option<(u64, Ended)> {
        (0..=12_000).step_by(20).find_map(|at| {
            let now = Duration::from_millis(at);
            if sends(at) {
                take.voice(now, &[1_000; 160]);
            }
            take.pause(now);
            take.is_over(now).map(|why| (at, why))
        })
    }

    /// How the phone sends, when it is over and why, how many samples are recorded, and how many of them were sent.
    type Case = (fn(u64) -> bool, (u64, Ended), usize, usize);

    #[test]
    fn a_recording_is_as_long_as_the_clock_says_whatever_the_phone_leaves_out() {
        // Of a silence that ends it a fifth of a second stays.
        let cases: [Case; 4] = [
            (|_| true, (9_980, Ended::Longest), 80_000, 80_000),
            (|at| at % 1_700 < 700, (9_980, Ended::Longest), 80_000, 210 * 160),
            (|at| at < 1_000, (2_980, Ended::Silence), 8_000 + 1_600, 8_000),
            (|_| false, (2_000, Ended::Silence), 1_600, 0),
        ];
        for (sends, over, length, sent) in cases {
            let mut take = Take::new(&LIMITS);
            assert_eq!(phone(&mut take, sends), Some(over));
            let recorded = take.end(over.1);
            assert_eq!(recorded.samples.len(), length);
            let loud = recorded.samples.iter().filter(|sample| **sample != 0);
            assert_eq!(loud.count(), sent);
        }
        // Frames that are late are no pause.
        let mut take = Take::new(&LIMITS);
        phone(&mut take, |at| at % 480 == 0);
        assert!(take.samples.iter().all(|sample| *sample != 0));
    }

    #[test]
    fn limits_beyond_all_bounds_and_none_at_all_are_limits() {
        let mut take = Take::new(&RecordLimits {
            longest: Duration::MAX,
            silence: Some(Duration::ZERO),
            ..LIMITS
        });
        assert_eq!(phone(&mut take, |_| true), None);
        let mut take = Take::new(&RecordLimits {
            longest: Duration::ZERO,
            ..LIMITS
        });
        assert_eq!(phone(&mut take, |_| true), Some((0, Ended::Longest)));
        assert!(take.end(Ended::Digit(b'#')).samples.is_empty());
        assert_eq!(milliseconds(Duration::MAX), c_int::MAX);
        assert_eq!(count(Duration::MAX, 16_000), usize::MAX);
    }
}
