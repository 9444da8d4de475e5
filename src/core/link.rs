//! Links to recordings, signed.
//!
//! ```text
//! https://pbx.example.com/planfix/records / SIGNED . SIGNATURE . mp3
//!
//! SIGNED     base64url of: version (1 byte), key (2), end of validity (8, 0 for never), path below the recordings' folder
//! SIGNATURE  base64url of: HMAC-SHA256 of SIGNED
//! ```
//!
//! Invariants:
//! - the path stands in the link itself, so a link outlives the spool: as long as the file and the key are there, it works;
//! - what is signed is the text of the link, and it is decoded only after the signature was found to be right; the rest of
//!   the text has one form only, so no link can be changed into another that works;
//! - a path that was signed is still an [`AudioPath`] and nothing else;
//! - a link holds letters, digits, `-`, `_` and `.` alone, so nothing on its way has to escape or decode anything: not the
//!   CRM's form, not a proxy, not Asterisk;
//! - the whole HMAC is compared, in constant time, by ring.
//!
//! The path is encoded and not encrypted: whoever has a link may hear the call, which tells him more than the file's name.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::{digest, hmac};

use super::audio_path::AudioPath;

/// How the path of a base ends that this module serves.
const OWN: &str = "/planfix/records";

/// The first byte of what is signed.
const VERSION: u8 = 1;

/// Version, key, end of validity.
const HEADER: usize = 1 + 2 + 8;

/// Bytes of a key: the digest's own length, as RFC 2104 advises.
pub const KEY_BYTES: usize = 32;

/// The head of a file of keys.
const HEAD: &str = "\
# The keys of the links to recordings, made by res_planfix. Whoever has them can make
# links himself, and without them the links that Planfix has are dead: keep this file
# secret, and keep it in the backup. 'planfix rotate links' changes it; nobody else may.
";

/// What `link` in planfix.conf asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Base {
    /// No links.
    #[default]
    None,
    /// Signed links, which this module serves.
    Own(String),
    /// Plain links into a folder that another web server serves.
    Outside(String),
}

impl Base {
    /// Reads the option: links below `…/planfix/records` are this module's.
    #[must_use]
    pub fn read(link: &str) -> Self {
        let link = link.trim_end_matches('/');
        // The host must not be taken for the path's beginning: https://planfix/records is somebody else's.
        let path = link
            .split_once("://")
            .and_then(|(_, rest)| rest.find('/').map(|slash| &rest[slash..]));
        match path {
            _ if link.is_empty() => Self::None,
            Some(path) if path.ends_with(OWN) => Self::Own(link.to_owned()),
            _ => Self::Outside(link.to_owned()),
        }
    }
}

/// A plain link: the path with everything escaped that is not unreserved (RFC 3986, section 2.3).
#[must_use]
pub fn plain(base: &str, path: &AudioPath) -> String {
    let mut link = base.to_owned();
    for part in path.parts() {
        link.push('/');
        for byte in part {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
                link.push(char::from(*byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(link, "%{byte:02X}");
            }
        }
    }
    link
}

/// One key.
#[derive(Clone)]
struct Key {
    id: u16,
    secret: [u8; KEY_BYTES],
    hmac: hmac::Key,
}

impl Key {
    fn new(id: u16, secret: [u8; KEY_BYTES]) -> Self {
        Self {
            id,
            secret,
            hmac: hmac::Key::new(hmac::HMAC_SHA256, &secret),
        }
    }
}

/// The keys that links are signed and verified with; never empty. The last signs, all verify.
#[derive(Clone)]
pub struct Keys {
    keys: Vec<Key>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| key.id))
            .finish()
    }
}

/// Why the text of a file of keys is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl Keys {
    /// The first key.
    #[must_use]
    pub fn first(secret: [u8; KEY_BYTES]) -> Self {
        Self {
            keys: vec![Key::new(1, secret)],
        }
    }

    /// With another key to sign with; links made with those before go on working. `None` when there were 65,535 already.
    #[must_use]
    pub fn rotated(&self, secret: [u8; KEY_BYTES]) -> Option<Self> {
        let id = self.current().id.checked_add(1)?;
        let mut keys = self.keys.clone();
        keys.push(Key::new(id, secret));
        Some(Self { keys })
    }

    /// Without all keys but the last: links made with those before are dead.
    #[must_use]
    pub fn latest_only(&self) -> Self {
        Self {
            keys: vec![self.current().clone()],
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    fn current(&self) -> &Key {
        // INVARIANT: never empty, by every way in which a value is made.
        &self.keys[self.keys.len() - 1]
    }

    /// The text of the file that keeps them. It is the one place where the secrets leave.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        for key in &self.keys {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {}", key.id, hex(&key.secret));
        }
        let sum = sum(&text);
        text + &sum
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// When a single letter of it is not as it was written: a key that is wrong by one bit, or a missing one, would make
    /// links dead without a word.
    pub fn from_text(text: &str) -> Result<Self, Damaged> {
        let (body, last) = text.rsplit_once("sum ").ok_or(Damaged)?;
        if sum(body) != format!("sum {last}") {
            return Err(Damaged);
        }
        let mut keys: Vec<Key> = Vec::new();
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            let (id, secret) = line.split_once(' ').ok_or(Damaged)?;
            let id: u16 = id.parse().map_err(|_| Damaged)?;
            if keys.last().is_some_and(|before| before.id >= id) {
                return Err(Damaged);
            }
            keys.push(Key::new(id, unhex(secret).ok_or(Damaged)?));
        }
        if keys.is_empty() {
            return Err(Damaged);
        }
        Ok(Self { keys })
    }
}

/// The last line of the file: it covers everything above it.
fn sum(body: &str) -> String {
    format!(
        "sum {}\n",
        hex(digest::digest(&digest::SHA256, body.as_bytes()).as_ref())
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(bytes)
}

/// A signed link to the recording at `path`, good up to `end` (seconds since 1970) or for ever.
#[must_use]
pub fn signed(base: &str, keys: &Keys, path: &AudioPath, end: Option<u64>) -> String {
    let key = keys.current();
    let mut payload = Vec::with_capacity(HEADER + path.as_bytes().len());
    payload.push(VERSION);
    payload.extend_from_slice(&key.id.to_be_bytes());
    payload.extend_from_slice(&end.unwrap_or(0).to_be_bytes());
    payload.extend_from_slice(path.as_bytes());
    let signed = BASE64.encode(payload);
    let signature = BASE64.encode(hmac::sign(&key.hmac, signed.as_bytes()));
    format!("{base}/{signed}.{signature}.{}", path.extension())
}

/// What a link is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The recording.
    Good(AudioPath),
    /// Nothing any more; it was made here.
    Expired,
    /// Nothing: it was not made here, or with a key that is gone.
    Bad,
}

/// Judges what stands behind the base in a link, `now` being seconds since 1970.
#[must_use]
pub fn verify(keys: &Keys, tail: &[u8], now: u64) -> Verdict {
    examine(keys, tail, now).unwrap_or(Verdict::Bad)
}

fn examine(keys: &Keys, tail: &[u8], now: u64) -> Option<Verdict> {
    let mut parts = tail.split(|byte| *byte == b'.');
    let (signed, signature, extension) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    // Only the key's number is read before the signature is known to be right. Eight letters are six bytes.
    let beginning = BASE64.decode(signed.get(..8)?).ok()?;
    let id = u16::from_be_bytes([beginning[1], beginning[2]]);
    let key = keys.keys.iter().find(|key| key.id == id)?;
    let signature = BASE64.decode(signature).ok()?;
    hmac::verify(&key.hmac, signed, &signature).ok()?;

    let payload = BASE64.decode(signed).ok()?;
    let (header, path) = payload.split_at_checked(HEADER)?;
    let end = u64::from_be_bytes(header[3..].try_into().ok()?);
    let path = AudioPath::from_bytes(path).ok()?;
    if header[0] != VERSION || extension != path.extension().as_bytes() {
        return None;
    }
    if end != 0 && now >= end {
        return Some(Verdict::Expired);
    }
    Some(Verdict::Good(path))
}
