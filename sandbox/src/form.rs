//! One `application/x-www-form-urlencoded` body, decoded to the byte.
//!
//! Invariants: bytes are kept as they came, valid UTF-8 or not; order and duplicates are kept; whatever an encoder could
//! not have produced (a broken escape, a raw space, a raw byte above 0x7e, an empty pair) is a problem and never guessed at.

/// One `name=value` of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The decoded name.
    pub name: Vec<u8>,
    /// The decoded value.
    pub value: Vec<u8>,
    /// The name as it stood in the body.
    pub raw_name: &'a [u8],
    /// The value as it stood in the body; `None` where there was no `=`.
    pub raw_value: Option<&'a [u8]>,
}

/// A decoded body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form<'a> {
    /// The pairs in their order.
    pub pairs: Vec<Pair<'a>>,
    /// What is wrong with the encoding, one sentence each; empty for a well-formed body.
    pub problems: Vec<String>,
}

/// Decodes a body. Never fails: problems are listed beside what could be decoded.
pub fn decode(body: &[u8]) -> Form<'_> {
    let mut form = Form {
        pairs: Vec::with_capacity(16),
        problems: Vec::new(),
    };
    if body.is_empty() {
        form.problems.push("the body is empty".to_owned());
        return form;
    }
    let mut offset = 0;
    for segment in body.split(|&byte| byte == b'&') {
        let start = offset;
        offset += segment.len() + 1;
        if segment.is_empty() {
            form.problems
                .push(format!("byte {start}: an empty pair between two `&`"));
            continue;
        }
        let (raw_name, raw_value) = match segment.iter().position(|&byte| byte == b'=') {
            Some(at) => (&segment[..at], Some(&segment[at + 1..])),
            None => (segment, None),
        };
        let name = unescape(raw_name, start, &mut form.problems);
        let value = match raw_value {
            Some(raw) => unescape(raw, start + raw_name.len() + 1, &mut form.problems),
            None => {
                form.problems.push(format!("byte {start}: a pair without `=`"));
                Vec::new()
            }
        };
        if name.is_empty() {
            form.problems
                .push(format!("byte {start}: a field without a name"));
        }
        form.pairs.push(Pair {
            name,
            value,
            raw_name,
            raw_value,
        });
    }
    form
}

/// The bytes as printable ASCII: everything else, and nothing that was already encoded, becomes a percent escape.
pub fn ascii(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    for &byte in raw {
        if (0x21..=0x7e).contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    text
}

const HEX: [u8; 16] = *b"0123456789ABCDEF";

fn unescape(raw: &[u8], start: usize, problems: &mut Vec<String>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        match raw[at] {
            b'+' => bytes.push(b' '),
            b'%' => {
                let pair = raw
                    .get(at + 1)
                    .copied()
                    .and_then(digit)
                    .zip(raw.get(at + 2).copied().and_then(digit));
                if let Some((high, low)) = pair {
                    bytes.push(high << 4 | low);
                    at += 3;
                    continue;
                }
                problems.push(format!("byte {}: `%` without two hexadecimal digits", start + at));
                bytes.push(b'%');
            }
            byte @ 0x21..=0x7e => bytes.push(byte),
            byte => {
                problems.push(format!(
                    "byte {}: 0x{byte:02x} has to be percent-encoded",
                    start + at
                ));
                bytes.push(byte);
            }
        }
        at += 1;
    }
    bytes
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(body: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let form = decode(body.as_bytes());
        assert_eq!(form.problems, Vec::<String>::new(), "{body}");
        form.pairs
            .into_iter()
            .map(|pair| (pair.name, pair.value))
            .collect()
    }

    #[test]
    fn decodes_exactly() {
        assert_eq!(
            pairs("a=1&b=%2B%26%3D%25+x&c=&d=x=y"),
            [
                (b"a".to_vec(), b"1".to_vec()),
                (b"b".to_vec(), b"+&=% x".to_vec()),
                (b"c".to_vec(), b"".to_vec()),
                (b"d".to_vec(), b"x=y".to_vec()),
            ]
        );
        assert_eq!(pairs("%d0%98=%F0%9F%98%80")[0], ("И".into(), "😀".into()));
        assert_eq!(pairs("a=%ff%00")[0].1, [0xff, 0]);
    }

    #[test]
    fn names_every_breach() {
        for (body, part) in [
            ("", "empty"),
            ("a=1&&b=2", "byte 4: an empty pair"),
            ("a=1&", "byte 4: an empty pair"),
            ("a", "without `=`"),
            ("=1", "without a name"),
            ("a=%4", "byte 2: `%`"),
            ("a=%zz", "byte 2: `%`"),
            ("a=b c", "byte 3: 0x20"),
            ("a=\n", "0x0a"),
            ("a=И", "0xd0"),
        ] {
            let problems = decode(body.as_bytes()).problems.join("; ");
            assert!(problems.contains(part), "{body:?}: {problems}");
        }
    }

    #[test]
    fn raw_text_is_ascii() {
        assert_eq!(ascii("a=%D0\u{418} \n".as_bytes()), "a=%D0%D0%98%20%0A");
    }
}
