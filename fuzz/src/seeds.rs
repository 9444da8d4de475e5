//! Where fuzzing begins: inputs that lead deep, made of files that the project has anyway.
//!
//! Invariant: the same files give the same seeds. A file that is not there is a mistake here and panics.

use std::fs;
use std::path::{Path, PathBuf};

use super::readers::KEY;

/// Traces are long, and the shortest lead as deep.
const TRACES: usize = 40;
const LONGEST_TRACE: usize = 24 << 10;

fn read(root: &Path, file: &str) -> Vec<u8> {
    fs::read(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The files of a folder with this extension, by name.
fn files(root: &Path, folder: &str, extension: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|own| own == extension));
    paths.sort();
    assert!(!paths.is_empty(), "{folder} has no {extension}");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What stands behind the empty line of an HTTP message.
fn body(message: &[u8]) -> &[u8] {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n");
    &message[end.map_or(message.len(), |end| end + 4)..]
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The protocol's requests in both directions.
pub fn forms(root: &Path) -> Vec<Vec<u8>> {
    let all = files(root, "tests/wire/planfix/requests", "http");
    let more = files(root, "tests/wire/pbx/requests", "http");
    let mut seeds: Vec<Vec<u8>> = all
        .iter()
        .chain(&more)
        .map(|message| body(message).to_vec())
        .collect();
    seeds.extend(texts(&[
        "to=1&%74o=2",
        "a&b=&=c&%zz=%",
        "application/x-www-form-urlencoded; charset=utf-8",
    ]));
    seeds
}

/// The protocol's requests of the PBX, with the key that is right.
pub fn requests(root: &Path) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for message in files(root, "tests/wire/pbx/requests", "http") {
        let body = String::from_utf8_lossy(body(&message)).replace("{pbx_token}", KEY);
        seeds.push(format!("application/x-www-form-urlencoded\n{body}").into_bytes());
    }
    for to in [
        "%2B7+%28910%29+123-45-67",
        "*98",
        "8101234567890",
        "101,102",
        "1&to=2",
    ] {
        let line = "application/x-www-form-urlencoded; charset=UTF-8";
        seeds.push(format!("{line}\ncmd=makeCall&from=101&to={to}&token={KEY}").into_bytes());
    }
    seeds
}

/// The protocol's replies, and what servers answer that are none of Planfix's.
pub fn replies(root: &Path) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for message in files(root, "tests/wire/planfix/replies", "http") {
        let status = message.get(9..12).unwrap_or(b"200").to_vec();
        seeds.push([&status, &b"\n"[..], body(&message)].concat());
    }
    seeds.extend(texts(&[
        "429 7\n",
        "503 Sat, 21 Nov 2026 05:01:00 GMT\n<html>",
        "200\n{\"error\":\"Invalid token\"}",
        "200\n{\"contact_name\":\"\\u202eА\\n  Б\",\"responsible\":\" 103 \"}",
        "200\n{\"contact_name\":1e400,\"responsible\":-0.0}",
        "204\n[[[[[[[[[[[[[[[[{}]]]]",
    ]));
    seeds
}

/// The file of `setup`.
pub fn setups(_: &Path) -> Vec<Vec<u8>> {
    texts(&[
        "{\n  \"planfix_url\": \"https://acme.planfix.ru/tel/api\",\n  \"planfix_token\": \"0123456789abcdef0123456789abcdef\"\n}\n",
        "{\"planfix_url\":\"http://127.0.0.1:8080/\",\"planfix_token\":\"\\u0441\\ud83d\\ude00\"}",
        "{\"planfix_url\":\"https://[::1]:99999/?a#b\",\"planfix_token\":7,\"planfix_token\":\"x y\"}",
    ])
}

/// The sample, as it is, switched on line by line, and section by section.
pub fn settings(root: &Path) -> Vec<Vec<u8>> {
    let sample = String::from_utf8(read(root, "configs/samples/planfix.conf.sample")).unwrap();
    let on: String = sample
        .lines()
        .map(|line| {
            line.strip_prefix(';')
                .filter(|rest| rest.contains('='))
                .unwrap_or(line)
        })
        .map(|line| line.split(';').next().unwrap_or_default().trim_end().to_owned() + "\n")
        .filter(|line| line.len() > 1)
        .collect();
    let crm = "[planfix]\nurl = https://acme.planfix.ru/tel/api\ntoken = 0123456789abcdef\n";
    let mut seeds = vec![crm.as_bytes().to_vec()];
    seeds.extend(on.split("\n[").map(|part| {
        let part = part.trim_start_matches('[');
        format!("{crm}[{part}\n").into_bytes()
    }));
    seeds.extend(texts(&[
        "[general]\nenabled = no\n[calls]\ninternal = _[1-37]XX,_9.\nrewrite = _98XXXXXXXXXX,1,\nrewrite = _0.,1,+7\ndata_utm = UTM\n",
        "[general]\nenabled = no\n[status]\nkey = 89abcdef01234567\nacl = monitoring\n",
        "[planfix]\npbx_token => 0123456789abcdef\n[calls]\ntrunks = PJSIP/trunk*,SIP/a-b,IAX2/*\nmissed = responsible\nnobody = 100\n",
    ]));
    seeds
}

/// Options' values, and words of the dialplan.
pub fn words(_: &Path) -> Vec<Vec<u8>> {
    texts(&[
        "30d",
        "1G",
        "15m",
        "18446744073709551615",
        "talk,ms",
        "responsible",
        "COMPLETED",
        "NO ANSWER",
        "Bearer 0123456789abcdef",
        "_[1-37]XX,_9.,_Z!,-101\n101",
        "PJSIP/trunk*,SIP/a-b\nPJSIP/trunk-1",
        "a long sentence that has to be wrapped somewhere, «и по-русски тоже»",
    ])
}

/// Numbers as channels have them.
pub fn numbers(_: &Path) -> Vec<Vec<u8>> {
    texts(&[
        "7,495,\n+7 (910) 123-45-67",
        "7,495,\n1234567",
        "7,,\n89101234567",
        "7,,\n810442071234567",
        "7,,\n+3652123456",
        "none,,\n00442071234567",
        "7,495,_98XXXXXXXXXX,1,\n989161234567",
        "7,,_0.,1,+\n\"Иван\" <sip:+79101234567@pbx;user=phone>",
        "7,,\ntel:+7-910-123-45-67;ext=12",
        "7,,\n#31#79101234567",
        "7,,\n8 (800) 555-35-35 доб. 12",
        "7,,\n*600#",
    ])
}

/// Calls of PLANFIX_EVENT.
pub fn events(_: &Path) -> Vec<Vec<u8>> {
    texts(&[
        "\0INCOMING,79101234567,101,1700000000.1",
        "\0ACCEPTED,79101234567,101,1700000000.1,type=out",
        "\0COMPLETED,79101234567,101,1700000000.1,https://x/1.mp3,42,Success,diversion=74951112233,data_source=Yandex",
        "\u{1}END,84959898533,101,1574.3,http://x/a b.mp3,17,ANSWERED",
        "\0END,79101234567,101,c,,x,nonsense,type=out,is_recorded=yes",
        "\0RECORD,,,c,https://x/a,is_temp=1",
        "\0\"a,b\",(c,d),[e,f],\\,g",
        "\u{2}OUTGOING\u{1e}1700000000.1\u{1e}101\u{1e}89101234567\u{1e}89101234567\u{1e}PJSIP/101-00000001",
        "\0END\u{1e}1700000000.1\u{1e}89101234567\u{1e}101\u{1e}101\u{1e}PJSIP/trunk-1\u{1e}ANSWER\u{1e}12\u{1e}Яндекс",
    ])
}

/// What is said of greetings.
pub fn greetings(_: &Path) -> Vec<Vec<u8>> {
    texts(&[
        "101,enabled",
        "101@tenant,file,vacation",
        "101,noanswer,axr(3)d(12#)",
        "101,pk(busy)",
        "101-105,_2XX,103@tenant",
        "+3d",
        "1800000000",
        "vacation",
        "1234",
    ])
}

/// Requests for a part of a file.
pub fn ranges(_: &Path) -> Vec<Vec<u8>> {
    texts(&[
        "1000 1795278600\nRange: bytes=0-99",
        "1000 1795278600\nRange: bytes=-500\nIf-Range: \"5f-1a\"",
        "1000 1795278600\nRange: bytes=18446744073709551615-\nHead",
        "0 0\nRange: bytes=0-",
        "1000 253402300800\nIf-None-Match: W/\"5f-1a\", \"x\"\nIf-Match: *",
        "1000 1795278600\nIf-Modified-Since: Sat, 21 Nov 2026 05:00:00 GMT\nIf-Unmodified-Since: Sat, 21 Nov 2026 05:00:00 GMT",
    ])
}

/// Names of recordings.
pub fn places(_: &Path) -> Vec<Vec<u8>> {
    texts(&[
        "in-74951234567-79101234567-20261121-163000-1795278600.12\nold.wav",
        "/var/spool/asterisk/monitor/2026/11/21/a.wav49\na.mp3",
        "../etc/passwd\n",
        "a/b.WAV\nb",
        "разговор\nразговор.gsm",
    ])
}

/// Headers of wav files.
pub fn waves(_: &Path) -> Vec<Vec<u8>> {
    let chunk = |name: &[u8; 4], body: &[u8]| [name, &(body.len() as u32).to_le_bytes()[..], body].concat();
    let file = |tag: u16, bits: u16, extra: &[u8]| {
        let format = [
            &tag.to_le_bytes()[..],
            &1_u16.to_le_bytes(),
            &8_000_u32.to_le_bytes(),
            &16_000_u32.to_le_bytes(),
            &2_u16.to_le_bytes(),
            &bits.to_le_bytes(),
        ]
        .concat();
        let chunks = [
            &b"WAVE"[..],
            &chunk(b"fmt ", &format),
            extra,
            &chunk(b"data", &[0x55; 64]),
        ]
        .concat();
        chunk(b"RIFF", &chunks)
    };
    vec![
        file(1, 16, &[]),
        file(6, 8, &[]),
        file(7, 8, &chunk(b"LIST", b"odd")),
        file(49, 4, &[]),
    ]
}

/// Files of a few frames: with and without a tag in front and an encoder's note.
pub fn mp3s(_: &Path) -> Vec<Vec<u8>> {
    // MPEG 2 layer III, 8 kbit/s, 16 kHz, mono: 36 bytes a frame. And MPEG 1 at 32 kbit/s and 48 kHz: 96 bytes.
    let small = |body: &[u8]| [&[0xff, 0xf3, 0x18, 0xc4][..], body, &vec![0; 32 - body.len()]].concat();
    let large = |body: &[u8]| [&[0xff, 0xfb, 0x14, 0xc4][..], body, &vec![0; 92 - body.len()]].concat();
    let note = [&[0; 17][..], b"Info\0\0\0\0", &[0; 21], &[0x24, 0x05, 0x77]].concat();
    vec![
        [small(&[]), small(&[]), small(&[])].concat(),
        [
            b"ID3\x04\0\0\0\0\0\x02ab".to_vec(),
            large(&note),
            large(&[]),
            b"TAG".to_vec(),
        ]
        .concat(),
        large(&[]),
    ]
}

/// The shortest traces that were recorded.
pub fn traces(root: &Path) -> Vec<Vec<u8>> {
    let mut seeds = files(root, "tests/traces", "jsonl");
    seeds.retain(|trace| trace.len() <= LONGEST_TRACE);
    seeds.sort_by_key(Vec::len);
    seeds.truncate(TRACES);
    seeds
}

/// Days of the tracker: every beginning of some that are drawn. Bytes of which each decides something need no more.
pub fn days(_: &Path) -> Vec<Vec<u8>> {
    (0..24_u64)
        .map(|seed| {
            let mut state = seed + 1;
            let next = |_| {
                // A generator of Knuth's: what matters is that it is always the same.
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            };
            (0..40 + 30 * seed).map(next).collect()
        })
        .collect()
}
