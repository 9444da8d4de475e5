//! Recordings, served by Asterisk's own HTTP server to whoever has a link, and nothing to anybody else.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Http, HttpAnswer, Stage, Version, flat, free_tcp_port, on_both, until};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

on_both! {
    a_recording_plays_by_its_link,
    whoever_has_no_link_finds_nothing,
    links_live_as_long_as_they_should,
    slow_listeners_hold_nothing_up,
    listeners_who_do_not_listen_are_let_go,
    an_encrypted_recording_is_the_same,
}

const BOUND: Duration = Duration::from_secs(30);
/// What a proxy in front of Asterisk would make of `/planfix/records`.
const LINK: &str = "https://pbx.example.com/planfix/records";
const NAME: &str = "2026/11/21/out-79101234567-101-20261121-163000-1763742600.1.mp3";

fn start(version: Version) -> Result<Stage> {
    Stage::plan(version)
        .section("recordings", &format!("link = {LINK}"))
        .start()
}

/// Bytes of which each place is told from its neighbours.
fn audio(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn folder(stage: &Stage) -> PathBuf {
    stage.asterisk.spool().join("monitor")
}

/// Puts a recording into its place, as the encoder does.
fn record(stage: &Stage, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = folder(stage).join(name);
    fs::create_dir_all(path.parent().context("a recording lies in a folder")?)?;
    let beside = path.with_extension("new");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, &path)?;
    Ok(path)
}

/// The link that the module gives out.
fn link(stage: &Stage, name: &str) -> Result<String> {
    let said = stage.asterisk.cli(&format!("planfix show link \"{name}\""))?;
    let line = said.lines().find(|line| line.starts_with("https://"));
    Ok(line
        .with_context(|| format!("there is no link: {said}"))?
        .to_owned())
}

/// What of a link reaches Asterisk.
fn target(link: &str) -> Result<&str> {
    link.strip_prefix("https://pbx.example.com")
        .context("a link is below its base")
}

fn get(stage: &Stage, target: &str, headers: &[(&str, &str)]) -> Result<HttpAnswer> {
    Http::connect(stage.asterisk.http())?.ask("GET", target, headers)
}

fn a_recording_plays_by_its_link(version: Version) -> Result<()> {
    start(version)?.play(|stage| {
        let bytes = audio(300_000);
        let path = record(stage, NAME, &bytes)?;
        let link = link(stage, NAME)?;
        ensure!(
            link.starts_with(LINK) && link.ends_with(".mp3") && !link.contains("7910"),
            "{link}"
        );
        ensure!(
            self::link(stage, &path.to_string_lossy())? == link,
            "by its whole path"
        );
        let target = target(&link)?;

        // Everything on one connection, as browsers do it.
        let mut http = Http::connect(stage.asterisk.http())?;
        let whole = http.ask("GET", target, &[])?;
        ensure!(whole.status == 200 && whole.body == bytes, "{whole:?}");
        for (name, value) in [
            ("Content-Type", "audio/mpeg"),
            ("Content-Length", "300000"),
            ("Accept-Ranges", "bytes"),
            ("Cache-Control", "private"),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", ""),
        ] {
            ensure!(whole.header(name) == value, "{name}: {}", whole.header(name));
        }
        let name = whole.header("Content-Disposition");
        ensure!(name.starts_with("inline; filename=\"out-7910"), "{name}");
        let etag = whole.header("ETag").to_owned();
        let date = whole.header("Last-Modified").to_owned();
        ensure!(etag.starts_with('"') && !date.is_empty(), "{:?}", whole.headers);

        let head = http.ask("HEAD", target, &[("Range", "bytes=0-9")])?;
        ensure!(
            head.status == 200 && head.header("Content-Length") == "300000",
            "{head:?}"
        );

        for (range, first, last) in [
            ("bytes=0-", 0, 299_999),
            ("bytes=0-1", 0, 1),
            ("bytes=65535-65536", 65_535, 65_536),
            ("bytes=100000-", 100_000, 299_999),
            ("bytes=-1000", 299_000, 299_999),
            ("bytes=299999-999999", 299_999, 299_999),
            ("bytes=1-99999999999999999999999", 1, 299_999),
        ] {
            let part = http.ask("GET", target, &[("Range", range)])?;
            ensure!(part.status == 206, "{range}: {}", part.status);
            ensure!(part.body == bytes[first..=last], "{range} gave other bytes");
            ensure!(
                part.header("Content-Range") == format!("bytes {first}-{last}/300000"),
                "{range}: {}",
                part.header("Content-Range")
            );
        }
        for range in ["bytes=300000-", "bytes=99999999999999999999-", "bytes=-0"] {
            let none = http.ask("GET", target, &[("Range", range)])?;
            ensure!(none.status == 416 && none.body.is_empty(), "{range}: {none:?}");
            ensure!(
                none.header("Content-Range") == "bytes */300000",
                "{range}: {none:?}"
            );
        }
        for range in ["bytes=0-1,5-6", "bytes=9-1", "lines=1-2", "bytes=-"] {
            let whole = http.ask("GET", target, &[("Range", range)])?;
            ensure!(
                whole.status == 200 && whole.body == bytes,
                "{range}: {}",
                whole.status
            );
        }
        for (headers, status) in [
            (&[("If-None-Match", etag.as_str())][..], 304),
            (&[("If-Modified-Since", &date)], 304),
            (&[("If-None-Match", "\"other\"")], 200),
            (&[("If-Range", &etag), ("Range", "bytes=1-2")], 206),
            (&[("If-Range", "\"other\""), ("Range", "bytes=1-2")], 200),
            (&[("If-Match", "\"other\"")], 412),
            (&[("Range", "bytes=1-2"), ("Range", "bytes=3-4")], 200),
        ] {
            let answer = http.ask("GET", target, headers)?;
            ensure!(answer.status == status, "{headers:?}: {}", answer.status);
            ensure!(
                matches!(status, 200 | 206) || answer.body.is_empty(),
                "{headers:?}: a body came along"
            );
        }

        // A GET with a body does not disturb the next request, and an empty recording is none the less one.
        record(stage, "empty.mp3", b"")?;
        let empty = self::link(stage, "empty.mp3")?;
        let mut fresh = Http::connect(stage.asterisk.http())?;
        fresh.send(format!("GET {target} HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello").as_bytes())?;
        let whole = fresh.head()?;
        ensure!(fresh.body(&whole)? == bytes, "a body confuses it");
        let empty = get(stage, self::target(&empty)?, &[])?;
        ensure!(empty.status == 200 && empty.body.is_empty(), "{empty:?}");
        let closed = get(stage, target, &[("Connection", "close")])?;
        ensure!(closed.header("Connection") == "close" && closed.body == bytes);

        // Who listens while a file is put in its place hears the one to its end.
        let large = audio(40_000_000);
        let place = record(stage, "large.mp3", &large)?;
        let large_link = self::link(stage, "large.mp3")?;
        let mut listener = Http::connect(stage.asterisk.http())?;
        listener.send(format!("GET {} HTTP/1.1\r\n\r\n", self::target(&large_link)?).as_bytes())?;
        let head = listener.head()?;
        record(stage, "large.mp3", b"another")?;
        ensure!(listener.body(&head)? == large, "the files were mixed");
        let other = get(stage, self::target(&large_link)?, &[])?;
        ensure!(other.body == b"another" && other.header("ETag") != head.header("ETag"));
        // And when it becomes shorter, the answer is visibly cut, and nobody hangs.
        fs::write(&place, &large)?;
        let mut listener = Http::connect(stage.asterisk.http())?;
        listener.send(format!("GET {} HTTP/1.1\r\n\r\n", self::target(&large_link)?).as_bytes())?;
        let head = listener.head()?;
        File::options().write(true).open(&place)?.set_len(10)?;
        ensure!(listener.body(&head).is_err(), "{head:?}");
        Ok(())
    })
}

/// Everything of an answer but the time at which it was made.
fn told(answer: &HttpAnswer) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let headers = answer.headers.iter().filter(|(name, _)| name != "Date").cloned();
    (answer.status, headers.collect(), answer.body.clone())
}

fn whoever_has_no_link_finds_nothing(version: Version) -> Result<()> {
    start(version)?.play(|stage| {
        record(stage, NAME, b"mine")?;
        record(stage, "other.mp3", b"other")?;
        let secret = stage.asterisk.spool().join("secret.mp3");
        fs::write(&secret, "secret")?;
        let (mine, other) = (link(stage, NAME)?, link(stage, "other.mp3")?);
        let mine = target(&mine)?;
        let good = get(stage, mine, &[])?;
        ensure!(good.status == 200 && good.body == b"mine", "{good:?}");
        let nothing = told(&get(stage, "/planfix/records/AAAA.AAAA.mp3", &[])?);
        ensure!(nothing.0 == 404 && nothing.2.is_empty(), "{nothing:?}");

        let parts = |link: &str| -> Vec<String> {
            let tail = link.rsplit('/').next().unwrap_or_default();
            tail.split('.').map(str::to_owned).collect()
        };
        let (my, others) = (parts(mine), parts(&other));
        let mut flipped = my[1].clone().into_bytes();
        flipped[5] = if flipped[5] == b'A' { b'B' } else { b'A' };
        let flipped = String::from_utf8(flipped)?;
        let (my_path, my_signature) = (my[0].as_str(), my[1].as_str());
        let mut tails = vec![
            // Another's recording, a forged, a cut, a longer and no signature.
            format!("{}.{my_signature}.mp3", others[0]),
            format!("{my_path}.{flipped}.mp3"),
            format!("{my_path}.{}.mp3", &my_signature[..22]),
            format!("{my_path}.{my_signature}A.mp3"),
            format!("{my_path}.{my_signature}%3D.mp3"),
            format!("{my_path}..mp3"),
            format!("{my_path}.mp3"),
            format!("{my_path}A.{my_signature}.mp3"),
            format!("{my_path}.{my_signature}.wav"),
            format!("{my_path}.{my_signature}"),
            format!("{my_path}.{my_signature}.mp3/"),
            format!("{my_path}.{my_signature}.mp3/../x"),
            format!("/{my_path}.{my_signature}.mp3"),
            format!("{my_path}%2e{my_signature}%2emp3"),
            // Longer than anything here, but within Asterisk's line.
            format!("{}.{my_signature}.mp3", "A".repeat(3_000)),
        ];
        tails.extend(
            [
                "",
                "/",
                NAME,
                "../../spool/secret.mp3",
                "../secret.mp3",
                "..%2fsecret.mp3",
                "%2e%2e%2fsecret.mp3",
                "%2e%2e/secret.mp3",
                "%252e%252e%252fsecret.mp3",
                "..%5csecret.mp3",
                "..\\secret.mp3",
                "..%c0%afsecret.mp3",
                "%00",
                "other.mp3%00",
                "%ff%fe.mp3",
                "//etc/passwd",
                "/etc/passwd",
                "%2fetc%2fpasswd",
                "2026/11/21/",
                ".",
                "..",
                "?signature=",
                "*",
            ]
            .map(str::to_owned),
        );
        let absolute = secret.to_string_lossy();
        tails.push(absolute.to_string());
        for tail in &tails {
            let answer = get(
                stage,
                &format!("/planfix/records/{tail}"),
                &[("Range", "bytes=0-9")],
            )?;
            ensure!(told(&answer) == nothing, "{tail}: {answer:?}");
        }
        // Bytes that are no text, and a line that Asterisk itself does not take.
        let mut raw = Http::connect(stage.asterisk.http())?;
        raw.send(b"GET /planfix/records/\xff\xfe\x80.mp3 HTTP/1.1\r\n\r\n")?;
        ensure!(told(&raw.head()?) == nothing, "not UTF-8");
        let mut raw = Http::connect(stage.asterisk.http())?;
        raw.send(format!("GET /planfix/records/{} HTTP/1.1\r\n\r\n", "A".repeat(100_000)).as_bytes())
            .ok();
        ensure!(
            raw.head().map_or(true, |answer| answer.status >= 400),
            "a line without end"
        );
        // A good link is good whatever is behind the question mark: CRMs like to add something there.
        let counted = get(stage, &format!("{mine}?utm=1"), &[])?;
        ensure!(counted.status == 200, "{counted:?}");

        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
            for target in [mine, "/planfix/records/x"] {
                let answer = Http::connect(stage.asterisk.http())?.ask(method, target, &[])?;
                ensure!(
                    answer.status == 405 && answer.header("Allow") == "GET, HEAD",
                    "{method}: {answer:?}"
                );
                ensure!(answer.body.is_empty(), "{method}: {answer:?}");
            }
        }
        ensure!(folder(stage).join(NAME).is_file(), "DELETE deletes nothing");

        // With a right link: what stands in the recording's place is no recording.
        let place = record(stage, "place/a.mp3", b"audio")?;
        let right = link(stage, "place/a.mp3")?;
        let right = target(&right)?;
        ensure!(get(stage, right, &[])?.status == 200);
        let put = |what: &str, make: &dyn Fn(&Path) -> Result<()>| -> Result<()> {
            if place.is_dir() {
                fs::remove_dir(&place)?;
            } else {
                fs::remove_file(&place)?;
            }
            make(&place)?;
            let start = Instant::now();
            let answer = get(stage, right, &[])?;
            ensure!(told(&answer) == nothing, "{what}: {answer:?}");
            ensure!(start.elapsed() < BOUND, "{what} is waited for");
            Ok(())
        };
        put("a link that leads out", &|place| Ok(symlink(&secret, place)?))?;
        put("a link that stays", &|place| Ok(symlink("../other.mp3", place)?))?;
        put("a folder", &|place| Ok(fs::create_dir(place)?))?;
        put("a pipe", &|place| {
            ensure!(
                Command::new("mkfifo").arg(place).status()?.success(),
                "mkfifo failed"
            );
            Ok(())
        })?;
        put("nothing", &|place| {
            fs::write(place, "")?;
            Ok(fs::remove_file(place)?)
        })?;
        // And a folder that has become a link leads nowhere either.
        fs::remove_dir(folder(stage).join("place"))?;
        fs::write(stage.asterisk.spool().join("a.mp3"), "secret")?;
        symlink(stage.asterisk.spool(), folder(stage).join("place"))?;
        ensure!(
            told(&get(stage, right, &[])?) == nothing,
            "through a folder that leads out"
        );

        for refused in [
            "../secret.mp3",
            absolute.as_ref(),
            "none.mp3",
            "place",
            ".hidden.mp3",
            "",
        ] {
            let said = stage.asterisk.cli(&format!("planfix show link \"{refused}\""))?;
            ensure!(!said.contains("https://"), "{refused}: {said}");
        }
        Ok(())
    })
}

fn says(stage: &Stage, target: &str) -> Result<u16> {
    Ok(get(stage, target, &[])?.status)
}

fn links_live_as_long_as_they_should(version: Version) -> Result<()> {
    start(version)?.play(|stage| {
        record(stage, NAME, b"audio")?;
        let key = stage.asterisk.scratch().join("db/planfix/links.key");
        let mode = fs::metadata(&key)
            .context("the key was made at the start")?
            .permissions()
            .mode();
        ensure!(mode & 0o7777 == 0o600, "{mode:o}");
        let first_key = fs::read_to_string(&key)?;
        let first = link(stage, NAME)?;
        let first = target(&first)?;
        ensure!(says(stage, first)? == 200);

        // A restart without the spool.
        stage.asterisk.stop_now(BOUND)?;
        fs::remove_dir_all(stage.asterisk.spool().join("planfix"))?;
        stage.asterisk.start()?;
        stage.at_work()?;
        ensure!(says(stage, first)? == 200, "the link died with the spool");
        ensure!(fs::read_to_string(&key)? == first_key, "the key has changed");

        // Rotation.
        let said = flat(&stage.asterisk.cli("planfix rotate links")?);
        ensure!(said.contains("go on working: 1 keys are kept"), "{said}");
        let second = link(stage, NAME)?;
        let second = target(&second)?;
        ensure!(first != second && says(stage, first)? == 200 && says(stage, second)? == 200);
        ensure!(
            stage
                .asterisk
                .cli("planfix rotate links nonsense")?
                .contains("Usage")
        );
        let both = fs::read_to_string(&key)?;

        // Damage: no link, no new key, and all is well when the backup is put back.
        fs::write(&key, &both.as_bytes()[..both.len() - 9])?;
        stage.asterisk.restart()?;
        stage.at_work()?;
        let refused = get(stage, second, &[])?;
        ensure!(
            refused.status == 503 && !refused.header("Retry-After").is_empty(),
            "{refused:?}"
        );
        let said = flat(&stage.asterisk.cli("planfix show link other.mp3")?);
        ensure!(said.contains("is damaged: put it back from the backup"), "{said}");
        let said = flat(&stage.asterisk.cli("planfix rotate links revoke")?);
        ensure!(said.contains("Nothing was changed"), "{said}");
        let row = stage.row("Links")?;
        ensure!(row.starts_with("none: ") && row.contains("is damaged"), "{row}");
        ensure!(stage.asterisk.log().contains("There are no links to recordings"));
        ensure!(
            fs::read_to_string(&key)?.len() == both.len() - 9,
            "it was replaced"
        );
        fs::write(&key, &both)?;
        stage.asterisk.cli("module reload res_planfix.so")?;
        ensure!(says(stage, first)? == 200 && says(stage, second)? == 200);

        // Revocation.
        let said = flat(&stage.asterisk.cli("planfix rotate links revoke")?);
        ensure!(said.contains("do not work any more"), "{said}");
        ensure!(says(stage, first)? == 404 && says(stage, second)? == 404);
        let third = link(stage, NAME)?;
        ensure!(says(stage, target(&third)?)? == 200);

        // Links that expire, while those that were given out for ever do not.
        let settings = stage.settings().to_owned();
        stage.reload_with(&format!("{settings}link_expires = 2\n"))?;
        let brief = link(stage, NAME)?;
        let brief = target(&brief)?;
        until("the end of a link", BOUND, || {
            let status = says(stage, brief)?;
            ensure!(matches!(status, 200 | 410), "{status}");
            Ok((status == 410).then_some(()))
        })?;
        ensure!(says(stage, target(&third)?)? == 200);
        let forged = brief.replacen("/records/", "/records/A", 1);
        ensure!(
            says(stage, &forged)? == 404,
            "an expired link is told from a wrong one"
        );

        // Whatever happens to planfix.conf, links that are out there are not called dead for it.
        stage.reload_with(&format!("{settings}nonsense = 1\n"))?;
        ensure!(says(stage, target(&third)?)? == 200);
        stage.reload_with(&settings.replace("[general]", "[general]\nenabled = no"))?;
        ensure!(
            says(stage, target(&third)?)? == 200,
            "no reports, but recordings play"
        );

        // The check tells whether links lead here, by asking for what nobody else can judge.
        let here = format!("http://{}", stage.asterisk.http());
        stage.reload_with(&settings.replace("https://pbx.example.com", &here))?;
        let said = flat(&stage.asterisk.cli("planfix check")?);
        ensure!(
            said.contains(&format!("pass Links {here}/planfix/records leads here")),
            "{said}"
        );
        let row = stage.row("Links")?;
        ensure!(
            row == format!("to {here}/planfix/records, served here, by one key"),
            "{row}"
        );
        stage.reload_with(&settings.replace("https://pbx.example.com", &(here + "/elsewhere")))?;
        let said = flat(&stage.asterisk.cli("planfix check")?);
        ensure!(
            said.contains("leads somewhere else, where the answer is HTTP 404"),
            "{said}"
        );

        // Another web server has them.
        stage.reload_with(&settings.replace(LINK, "https://files.example.com/calls"))?;
        ensure!(says(stage, target(&third)?)? == 404);
        ensure!(link(stage, NAME)? == format!("https://files.example.com/calls/{NAME}"));
        let said = flat(&stage.asterisk.cli("planfix rotate links")?);
        ensure!(said.contains("There is no key to rotate"), "{said}");

        // No part of a key was said to anybody.
        let texts = [stage.asterisk.log(), stage.asterisk.console()];
        for line in both
            .lines()
            .chain(first_key.lines())
            .filter(|line| !line.starts_with('#'))
        {
            let secret = line
                .split(' ')
                .nth(1)
                .context("a line of the key has two words")?;
            ensure!(
                texts.iter().all(|text| !text.contains(secret)),
                "a key is in the log"
            );
        }
        Ok(())
    })
}

fn slow_listeners_hold_nothing_up(version: Version) -> Result<()> {
    const LISTENERS: usize = 20;
    const LENGTH: u64 = 200 << 20;
    start(version)?.play(|stage| {
        let place = record(stage, "long.mp3", b"")?;
        File::options().write(true).open(&place)?.set_len(LENGTH)?;
        let long = link(stage, "long.mp3")?;
        let long = target(&long)?;
        record(stage, NAME, b"audio")?;
        let short = link(stage, NAME)?;
        let short = target(&short)?;
        let before = stage.asterisk.rss_kib()?;
        let mut listeners = Vec::new();
        for _ in 0..LISTENERS {
            let mut listener = Http::connect(stage.asterisk.http())?;
            listener.send(format!("GET {long} HTTP/1.1\r\n\r\n").as_bytes())?;
            let head = listener.head()?;
            ensure!(head.header("Content-Length") == LENGTH.to_string(), "{head:?}");
            listeners.push(listener);
        }
        // They take no more; others are served, and nothing of the files lies in memory.
        ensure!(says(stage, short)? == 200);
        let grown = stage.asterisk.rss_kib()?.saturating_sub(before);
        ensure!(grown < 64 << 10, "{grown} KiB for {LISTENERS} listeners");

        // Somebody who asks all the time while the module goes and comes.
        let address = stage.asterisk.http();
        let target = short.to_owned();
        let asking = thread::spawn(move || -> Result<(usize, usize)> {
            let (mut served, mut refused) = (0, 0);
            let begin = Instant::now();
            while served < 20 || refused == 0 {
                ensure!(
                    begin.elapsed() < 2 * BOUND,
                    "{served} were served, {refused} were not"
                );
                let answer = Http::connect(address).and_then(|mut http| http.ask("GET", &target, &[]));
                match answer.map(|answer| answer.status) {
                    Ok(200) => served += 1,
                    // The module is away, or goes just now.
                    Ok(404 | 503) | Err(_) => refused += 1,
                    Ok(other) => anyhow::bail!("{other} is no answer"),
                }
            }
            Ok((served, refused))
        });
        let start = Instant::now();
        let said = stage.asterisk.cli("module unload res_planfix.so")?;
        let took = start.elapsed();
        ensure!(said.contains("Unloaded"), "{said}");
        ensure!(took < BOUND, "an unload took {took:?}");
        ensure!(
            !stage
                .asterisk
                .log()
                .contains("still runs while the module is unloaded"),
            "a listener was left behind"
        );
        println!("Asterisk {}: unloaded in {took:?}", stage.asterisk.version());
        // They are told by the end of the connection that this was not all.
        for listener in &mut listeners {
            let mut buffer = vec![0; 1 << 20];
            let mut taken = 0;
            while let Ok(some @ 1..) = listener.some(&mut buffer) {
                taken += some as u64;
            }
            ensure!(
                taken < LENGTH,
                "everything was sent to somebody who did not listen"
            );
        }
        until("an answer without the module", BOUND, || {
            Ok((says(stage, short)? == 404).then_some(()))
        })?;
        stage.asterisk.cli("module load res_planfix.so")?;
        stage.at_work()?;
        ensure!(says(stage, short)? == 200);
        let (served, refused) = asking
            .join()
            .map_err(|_| anyhow::anyhow!("the asking thread panicked"))??;
        println!("{served} were served and {refused} were not while the module was away");
        std::io::stdout().flush()?;
        Ok(())
    })
}

/// Asterisk has 100 connections for everything, and click-to-call comes by them too.
fn listeners_who_do_not_listen_are_let_go(version: Version) -> Result<()> {
    /// What the module sends at once.
    const MOST: usize = 80;
    const LENGTH: u64 = 20 << 20;
    start(version)?.play(|stage| {
        let place = record(stage, "long.mp3", b"")?;
        File::options().write(true).open(&place)?.set_len(LENGTH)?;
        let long = link(stage, "long.mp3")?;
        let long = target(&long)?;
        let listen = || -> Result<(Http, HttpAnswer)> {
            let mut listener = Http::connect(stage.asterisk.http())?;
            let head = listener.request("GET", long, &[])?;
            Ok((listener, head))
        };
        let mut listeners = Vec::new();
        let mut refused = None;
        // Those who come first may be let go before the last one comes, on a slow machine; never are there more.
        while refused.is_none() {
            ensure!(listeners.len() < 2 * MOST, "more than {MOST} are served at once");
            let (listener, head) = listen()?;
            match head.status {
                200 => listeners.push(listener),
                503 => refused = Some(head),
                other => anyhow::bail!("{other} is no answer"),
            }
        }
        ensure!(listeners.len() >= MOST, "only {} were served", listeners.len());
        let refused = refused.context("the loop ends with it")?;
        ensure!(refused.header("Retry-After") == "5", "{refused:?}");
        // Nobody else has to wait for them.
        let others = get(stage, "/planfix/records/A.A.mp3", &[])?;
        ensure!(others.status == 404, "{others:?}");
        let head = Http::connect(stage.asterisk.http())?.ask("HEAD", long, &[])?;
        ensure!(head.status == 200, "{head:?}");
        // And they are let go in the end, which their own ends of the connections do not even have to notice.
        until("the end of patience", 2 * BOUND, || {
            Ok((!stage.row("Links")?.contains("being sent")).then_some(()))
        })?;
        ensure!(listen()?.1.status == 200, "there is room again");
        drop(listeners);
        Ok(())
    })
}

/// A certificate for this machine, and whoever trusts it. The file holds the key too, as Asterisk expects it.
fn certificate(file: &Path) -> Result<Arc<ClientConfig>> {
    let authority_key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::new(Vec::new())?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate()?;
    let own = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    fs::write(file, own.pem() + &key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority_certificate.der().to_vec()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn an_encrypted_recording_is_the_same(version: Version) -> Result<()> {
    let mut stage = Stage::plan(version)
        .section("recordings", &format!("link = {LINK}"))
        .prepare()?;
    let file = stage.asterisk.etc().join("http.pem");
    let config = certificate(&file)?;
    let (plain, encrypted) = (stage.asterisk.http().port(), free_tcp_port());
    stage.asterisk.configure(
        "http.conf",
        &format!(
            "[general]\nenabled = yes\nbindaddr = 127.0.0.1\nbindport = {plain}\ntlsenable = yes\n\
             tlsbindaddr = 127.0.0.1:{encrypted}\ntlscertfile = {}\n",
            file.display()
        ),
    )?;
    stage.asterisk.start()?;
    stage.play(|stage| {
        stage.at_work()?;
        let connect = || -> Result<StreamOwned<ClientConnection, TcpStream>> {
            let stream = TcpStream::connect(("127.0.0.1", encrypted))?;
            stream.set_read_timeout(Some(BOUND))?;
            stream.set_write_timeout(Some(BOUND))?;
            let connection = ClientConnection::new(Arc::clone(&config), "127.0.0.1".try_into()?)?;
            Ok(StreamOwned::new(connection, stream))
        };
        // More than all buffers on the way hold, so that Asterisk has to wait for the listener.
        let bytes = audio(20_000_000);
        record(stage, NAME, &bytes)?;
        let link = link(stage, NAME)?;
        let target = target(&link)?;
        for (range, first, last) in [
            ("", 0, bytes.len() - 1),
            ("Range: bytes=1000000-3000000\r\n", 1_000_000, 3_000_000),
        ] {
            let mut listener = connect()?;
            listener
                .write_all(format!("GET {target} HTTP/1.1\r\nConnection: close\r\n{range}\r\n").as_bytes())?;
            let mut answer = Vec::new();
            // Asterisk may end the connection without TLS's own farewell; the length tells that all is here.
            let ended = listener.read_to_end(&mut answer);
            let start = answer.windows(4).position(|four| four == b"\r\n\r\n");
            let start = start.with_context(|| format!("{ended:?}"))? + 4;
            ensure!(
                answer[start..] == bytes[first..=last],
                "{} bytes came, or others: {ended:?}",
                answer.len() - start
            );
        }
        let mut silent = connect()?;
        silent.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes())?;
        let mut beginning = [0; 12];
        silent.read_exact(&mut beginning)?;
        ensure!(&beginning == b"HTTP/1.1 200", "{}", beginning.escape_ascii());
        let start = Instant::now();
        let said = stage.asterisk.cli("module unload res_planfix.so")?;
        ensure!(said.contains("Unloaded") && start.elapsed() < BOUND, "{said}");
        ensure!(
            !stage
                .asterisk
                .log()
                .contains("still runs while the module is unloaded"),
            "a listener was left behind"
        );
        Ok(())
    })
}
