//! The checks of `planfix check` that need the network or the disk.
//!
//! Invariant: no text made here holds a key, nor Planfix's idea of one.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Delivery;
use super::question::{Answer, Question};
use crate::core::quantity::show_bytes;
use crate::core::reply::{Pong, Trouble};
use crate::core::settings::{self, Settings};
use crate::core::table;

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    name: String,
    verdict: Verdict,
    text: String,
    cure: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail,
    Skipped,
}

impl Item {
    /// It is as it should be.
    #[must_use]
    pub fn pass(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            verdict: Verdict::Pass,
            text: text.to_owned(),
            cure: String::new(),
        }
    }

    /// It is not, and this mends it.
    #[must_use]
    pub fn fail(name: &str, text: &str, cure: &str) -> Self {
        Self {
            name: name.to_owned(),
            verdict: Verdict::Fail,
            text: text.to_owned(),
            cure: cure.to_owned(),
        }
    }

    /// It could not be looked at.
    #[must_use]
    pub fn skipped(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            verdict: Verdict::Skipped,
            text: text.to_owned(),
            cure: String::new(),
        }
    }

    /// Whether it failed.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        self.verdict == Verdict::Fail
    }

    /// For a terminal of 80 columns.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let verdict = match self.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
            Verdict::Skipped => "----",
        };
        let mut text = self.text.clone();
        if !self.cure.is_empty() {
            text = format!("{text}; {}", self.cure);
        }
        table::wrap(&text, table::WIDTH - 25)
            .into_iter()
            .enumerate()
            .map(|(index, line)| match index {
                0 => format!("{verdict}  {:<18} {line}", self.name),
                _ => format!("{:25}{line}", ""),
            })
            .collect()
    }
}

/// How long all the checks may take at most.
#[must_use]
pub fn longest(delivery: &settings::Delivery) -> Duration {
    delivery.connect_timeout * 7 + delivery.response_timeout * 4 + Duration::from_secs(5)
}

/// Name, connection, TLS and both keys.
#[must_use]
pub fn check_crm(settings: &Settings, delivery: &Delivery) -> Vec<Item> {
    let mut items = vec![token(settings)];
    let (host, port) = settings.crm.host_and_port();
    let limit = settings.delivery.connect_timeout;
    let addresses = match delivery.names().look_up(&host, limit) {
        Ok(addresses) => addresses,
        Err(error) => {
            items.push(Item::fail(
                "DNS",
                &error.to_string(),
                "check 'url' in planfix.conf and the name servers in /etc/resolv.conf",
            ));
            items.push(Item::skipped("Connection, ping", "the name has no address"));
            return items;
        }
    };
    items.push(Item::pass(
        "DNS",
        &format!("{host} has {} address(es)", addresses.len()),
    ));
    let connected = addresses
        .iter()
        .map(|address| SocketAddr::new(*address, port))
        .find_map(|address| {
            TcpStream::connect_timeout(&address, limit / u32::try_from(addresses.len()).unwrap_or(1))
                .ok()
                .map(|_| address)
        });
    match connected {
        Some(address) => items.push(Item::pass(
            "Connection",
            &format!("{address} accepts connections"),
        )),
        None => {
            items.push(Item::fail(
                "Connection",
                &format!("no address of {host} accepts connections on port {port}"),
                "check the network, the firewall and 'url' in planfix.conf",
            ));
            items.push(Item::skipped("TLS, ping", "there is no connection"));
            return items;
        }
    }
    match delivery
        .client(&settings.crm, &settings.delivery)
        .map(|client| client.ping())
    {
        Ok(answer) => {
            if answer.is_ok() {
                // What waits need not wait for its next try.
                let _ = delivery.ask(Question::Hurry, Duration::from_secs(1));
            }
            items.extend(ping(settings, answer));
        }
        Err(text) => items.push(Item::fail("TLS", &text, "see 'tls_ca_file' in planfix.conf")),
    }
    items
}

fn token(settings: &Settings) -> Item {
    let token = settings.crm.token.expose();
    // Planfix shows 32 lower-case hexadecimal digits; the form is not promised (section 1 of the protocol document).
    let usual = token.len() == 32
        && token
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    Item::pass(
        "Token",
        if usual {
            "set"
        } else {
            "set, although not of the usual form (32 hexadecimal digits)"
        },
    )
}

fn ping(settings: &Settings, answer: Result<Pong, Trouble>) -> Vec<Item> {
    let tls = |text: &str| Item::pass("TLS", text);
    let tls_passed = if settings.crm.is_tls() {
        tls("the certificate is trusted")
    } else {
        tls("not used: the address is on this machine")
    };
    let pong = match answer {
        Ok(pong) => pong,
        Err(trouble @ Trouble::Tls(_)) => {
            return vec![
                Item::fail("TLS", &trouble.to_string(), trouble.cure()),
                Item::skipped("Ping", "there is no connection"),
            ];
        }
        Err(trouble) => {
            return vec![
                tls_passed,
                Item::fail("Ping", &trouble.to_string(), trouble.cure()),
            ];
        }
    };
    vec![
        tls_passed,
        Item::pass("Ping", "Planfix accepts the token"),
        key(settings, &pong),
        address(settings, &pong),
    ]
}

/// The key for the other direction, as Planfix has it.
fn key(settings: &Settings, pong: &Pong) -> Item {
    let name = "Key of the PBX";
    let own = &settings.crm.pbx_token;
    if own.is_empty() {
        Item::fail(
            name,
            "pbx_token is not set in planfix.conf, so nothing from Planfix would be accepted",
            "make a key up, set it as pbx_token and enter it in Planfix as the PBX's authorization key («Ключ авторизации АТС»)",
        )
    } else if own.matches(pong.pbx_token.as_bytes()) && own.can_be_guessed() {
        Item::fail(
            name,
            "pbx_token is what was entered in Planfix, and so short that it can be guessed",
            "make one up that has 16 characters or more: whoever guesses it makes calls at your expense",
        )
    } else if own.matches(pong.pbx_token.as_bytes()) {
        Item::pass(name, "pbx_token is what was entered in Planfix")
    } else if pong.pbx_token.is_empty() {
        Item::fail(
            name,
            "none was entered in Planfix",
            "enter the value of pbx_token in Planfix («Ключ авторизации АТС»)",
        )
    } else {
        Item::fail(
            name,
            "pbx_token differs from what was entered in Planfix",
            "enter the value of pbx_token in Planfix («Ключ авторизации АТС») again, or the other way round",
        )
    }
}

/// Whether the module answers there: requests from Planfix come this way.
#[must_use]
pub fn check_door(server: SocketAddr, path: &str) -> Item {
    let name = "Click-to-call";
    match knock(server, path) {
        Ok(head) if head.starts_with("HTTP/1.1 204 ") && head.contains("\r\nAllow: OPTIONS, POST\r\n") => {
            Item::pass(name, &format!("http://{server}{path} answers"))
        }
        Ok(head) => Item::fail(
            name,
            &format!(
                "http://{server}{path} answers '{}'",
                head.lines().next().unwrap_or_default()
            ),
            "look whether another program has this port, or whether http.conf was changed since 'module reload http'",
        ),
        Err(error) => Item::fail(
            name,
            &format!("http://{server}{path}: {error}"),
            "run 'http show status', and 'module reload http' if http.conf was changed",
        ),
    }
}

/// Asks what may be asked there; the answer up to its body.
fn knock(server: SocketAddr, path: &str) -> std::io::Result<String> {
    let limit = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&server, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let request = format!("OPTIONS {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    stream.take(2_048).read_to_end(&mut head)?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The PBX's address, as Planfix has it.
fn address(settings: &Settings, pong: &Pong) -> Item {
    let name = "Address of the PBX";
    let own = settings.crm.pbx_url.trim_end_matches('/');
    let theirs = pong.pbx_url.trim().trim_end_matches('/');
    if !theirs.is_empty() && !theirs.ends_with("/planfix/api") {
        return Item::fail(
            name,
            "the one that was entered in Planfix does not end in /planfix/api, so its requests do not reach the module",
            "enter https://NAME-OF-THE-PBX/planfix/api in Planfix («Адрес АТС»), with http.conf's prefix where there is one",
        );
    }
    if pong.pbx_url.trim().is_empty() {
        Item::fail(
            name,
            "none was entered in Planfix, which may then not accept events",
            "enter the PBX's address in Planfix («Адрес АТС»): https://NAME-OF-THE-PBX/planfix/api",
        )
    } else if own.is_empty() {
        Item::pass(
            name,
            "one that ends in /planfix/api was entered in Planfix; set pbx_url in planfix.conf to have it compared",
        )
    } else if own == theirs {
        Item::pass(name, "pbx_url is what was entered in Planfix")
    } else {
        Item::fail(
            name,
            "pbx_url differs from what was entered in Planfix",
            "correct pbx_url in planfix.conf or the address in Planfix («Адрес АТС»)",
        )
    }
}

/// Whether the spool can be written, and the room on its disk.
#[must_use]
pub fn check_spool(config: &settings::Delivery, delivery: &Delivery) -> Vec<Item> {
    let status = delivery.status();
    let cure = "check the disk, its permissions and its room; it is tried again every minute, and by 'module reload res_planfix.so'";
    let writable = match delivery.ask(Question::Write, Duration::from_secs(5)) {
        Some(Answer::Done) if status.spool == "memory" => Item::fail(
            "Spool",
            &format!("it lies in memory only: {}", status.spool_trouble),
            cure,
        ),
        Some(Answer::Done) => Item::pass("Spool", &format!("{} can be written", status.spool)),
        Some(Answer::Failed(text)) => Item::fail("Spool", &text, cure),
        _ => Item::fail("Spool", "it does not answer", cure),
    };
    vec![writable, room(config, &status.spool, status.spool_bytes)]
}

fn room(config: &settings::Delivery, path: &str, used: u64) -> Item {
    let name = "Disk space";
    let folder = std::path::Path::new(path)
        .parent()
        .unwrap_or(std::path::Path::new("/"));
    match rustix::fs::statvfs(folder) {
        Ok(disk) => {
            let free = disk.f_bavail * disk.f_frsize;
            let needed = config.max_spool.saturating_sub(used);
            if free >= needed {
                Item::pass(
                    name,
                    &format!(
                        "{} free, the spool may still grow by {}",
                        show_bytes(free),
                        show_bytes(needed)
                    ),
                )
            } else {
                Item::fail(
                    name,
                    &format!(
                        "{} free, but the spool may still grow by {}",
                        show_bytes(free),
                        show_bytes(needed)
                    ),
                    "make room on the disk or lower max_spool in planfix.conf",
                )
            }
        }
        Err(error) => Item::fail(name, &format!("{}: {error}", folder.display()), "check the disk"),
    }
}
