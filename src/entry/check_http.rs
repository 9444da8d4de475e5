//! `planfix check` of the way from Planfix to the PBX: Asterisk's own HTTP server, and what the module answers there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::ast::acl::{self, Access};
use crate::ast::originate::context_exists;
use crate::ast::{config, http};
use crate::core::settings::Settings;
use crate::delivery::checks::{Item, check_door};

/// `bindport` where http.conf names none (main/http.c, `DEFAULT_PORT`).
const PORT: u16 = 8088;

/// The items.
pub(super) fn items(settings: Option<&Settings>) -> Vec<Item> {
    let mut items = server();
    if let Some(settings) = settings {
        items.extend(own_address(settings));
        items.extend(list_of_addresses(settings));
        items.extend(way_for_clicks(settings));
        items.extend(way_for_watchers(settings));
    }
    items
}

fn server() -> Vec<Item> {
    let name = "HTTP server";
    let cure = "set enabled = yes and bindaddr = 0.0.0.0 in [general] of http.conf and run 'module reload http'; calls from Planfix need it";
    let config::Loaded::Entries(entries) = config::load(c"http.conf") else {
        return vec![Item::fail(name, "http.conf is missing or cannot be read", cure)];
    };
    let option = |name: &str| {
        entries
            .iter()
            .rev()
            .find(|entry| entry.section == "general" && entry.name == name)
            .map(|entry| entry.value.as_str())
    };
    let on = |name: &str| {
        option(name).is_some_and(|value| {
            ["yes", "true", "y", "t", "1", "on"].contains(&value.to_ascii_lowercase().as_str())
        })
    };
    // Asterisk has no address of its own accord: without one its server does not start, and says no word (main/http.c,
    // `http_server_get`). That for TLS takes this one's address where it has none.
    match (
        on("enabled"),
        option("bindaddr"),
        on("tlsenable"),
        option("tlsbindaddr"),
    ) {
        (true, Some(address), _, _) => {
            let port = option("bindport")
                .and_then(|port| port.parse().ok())
                .unwrap_or(PORT);
            let on = Item::pass(name, &format!("on, at {address}, port {port}"));
            match reachable(address) {
                Some(address) => vec![on, check_door(SocketAddr::new(address, port), &path())],
                None => vec![
                    on,
                    Item::skipped("Click-to-call", "bindaddr is a name: not tried from here"),
                ],
            }
        }
        (_, _, true, Some(address)) => vec![
            Item::pass(name, &format!("on, with TLS, at {address}")),
            Item::skipped(
                "Click-to-call",
                "the server speaks TLS alone: not tried from here",
            ),
        ],
        (true, None, _, _) => vec![Item::fail(
            name,
            "enabled, but without bindaddr Asterisk does not start it",
            "set bindaddr = 0.0.0.0, or 127.0.0.1 behind a proxy, in [general] of http.conf and run 'module reload http'",
        )],
        (false, _, true, None) => vec![Item::fail(
            name,
            "tlsenable is set, but without tlsbindaddr and without enabled = yes Asterisk does not start it",
            "set tlsbindaddr = 0.0.0.0:8089 in [general] of http.conf and run 'module reload http'",
        )],
        (false, _, false, _) => vec![Item::fail(name, "off", cure)],
    }
}

/// Where Planfix's requests are answered.
fn path() -> String {
    format!("{}/planfix/api", http::prefix())
}

/// Where a server that is bound to that address can be reached from this machine.
fn reachable(bound: &str) -> Option<IpAddr> {
    match bound.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Some(Ipv4Addr::LOCALHOST.into()),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Some(Ipv6Addr::LOCALHOST.into()),
        Ok(address) => Some(address),
        Err(_) => None,
    }
}

/// Whether pbx_url leads to the module.
fn own_address(settings: &Settings) -> Option<Item> {
    let url = settings.crm.pbx_url.trim_end_matches('/');
    if url.is_empty() || url.ends_with("/planfix/api") {
        return None;
    }
    Some(Item::fail(
        "Path of the PBX",
        "pbx_url in planfix.conf does not end in /planfix/api",
        &format!(
            "the module answers at {}: set pbx_url to that behind the PBX's name, and enter the same in Planfix («Адрес АТС»)",
            path()
        ),
    ))
}

/// Whether that list is named and not there, which can be told by anybody's address.
fn is_missing(list: &str) -> bool {
    acl::verdict(list, Some(Ipv4Addr::LOCALHOST.into())) == Access::Undefined
}

/// Whether the ACL that is to let Planfix in exists: without rules it lets nobody in.
fn list_of_addresses(settings: &Settings) -> Option<Item> {
    let list = &settings.callback.acl;
    is_missing(list).then(|| {
        Item::fail(
            "ACL",
            &format!("there is no ACL '{list}' in acl.conf, or it has no rules, so everybody is refused"),
            "correct acl in [callback], or write the list in acl.conf and run 'module reload acl'",
        )
    })
}

/// Whether an employee's click could get anywhere.
fn way_for_clicks(settings: &Settings) -> Option<Item> {
    let context = &settings.callback.context;
    let name = "Numbers to call";
    // No number is known here that has to exist; a context without any is the usual slip.
    (!settings.crm.pbx_token.is_empty() && !context_exists(context)).then(|| {
        Item::fail(
            name,
            &format!("there is no context '{context}' in the dialplan"),
            "set context in [callback] to the one in which employees dial",
        )
    })
}

/// Whether anybody could get at the status.
fn way_for_watchers(settings: &Settings) -> Option<Item> {
    let name = "Status";
    let (key, list) = (&settings.status.key, &settings.status.acl);
    if key.is_empty() {
        return None;
    }
    let item = if is_missing(list) {
        Item::fail(
            name,
            &format!("there is no ACL '{list}', or it has no rules, so nobody is answered"),
            "set acl in [status] to one of acl.conf, or leave it empty",
        )
    } else {
        let prefix = http::prefix();
        Item::pass(
            name,
            &format!("{prefix}/planfix/status and {prefix}/planfix/metrics answer whoever shows the key"),
        )
    };
    Some(item)
}
