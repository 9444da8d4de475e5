//! What is read from outside: forms, JSON, planfix.conf, words, numbers.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::SystemTime;

use res_planfix::core::bearer;
use res_planfix::core::contact::{self, Contact};
use res_planfix::core::direction::Direction;
use res_planfix::core::disposition::{self, StatusMap};
use res_planfix::core::draft::Kind;
use res_planfix::core::durations;
use res_planfix::core::form::{Form, is_form};
use res_planfix::core::make_call::{Click, Device, auto_answer};
use res_planfix::core::pattern::Patterns;
use res_planfix::core::phone::{ANONYMOUS, Numbering};
use res_planfix::core::quantity;
use res_planfix::core::refusal::Refusal;
use res_planfix::core::reply::Reply;
use res_planfix::core::secret::Secret;
use res_planfix::core::settings::{Callback, Calls, Entry, Settings};
use res_planfix::core::setup::Setup;
use res_planfix::core::table;
use res_planfix::core::trunks::Trunks;

/// One line, as a log and a console show it.
pub fn is_line(text: &str) -> bool {
    !text.contains(char::is_control)
}

/// As the module compares keys; seeds bring it.
pub const KEY: &str = "0123456789abcdef";

pub fn form(input: &[u8]) {
    black_box(is_form(input));
    let fields: Vec<(Cow<'_, str>, Cow<'_, str>)> = form_urlencoded::parse(input).collect();
    let doubled = (1..fields.len()).any(|at| fields[..at].iter().any(|(name, _)| *name == fields[at].0));
    match Form::parse(input) {
        Some(form) => {
            assert!(!doubled && fields.len() <= 32);
            for (name, value) in &fields {
                assert_eq!(form.get(name), value);
            }
        }
        None => assert!(doubled || fields.len() > 32),
    }
}

/// What is done about a request of Planfix's, as far as no Asterisk is asked: a line with the Content-Type, then the body.
pub fn request(input: &[u8]) {
    let end = input
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(input.len());
    let (content_type, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    if !is_form(content_type) {
        return;
    }
    let Some(form) = Form::parse(body) else { return };
    let key = Secret::new(KEY);
    assert_eq!(
        key.matches(form.get("token").as_bytes()),
        form.get("token") == KEY
    );
    let internal = Patterns::parse("_XXX,_XXXX").unwrap();
    let callback = Callback {
        deny: Patterns::parse("_810.,_+7800.").unwrap(),
        ..Callback::default()
    };
    match Click::read(&form, &internal, &callback) {
        Ok(click) => called(&click, &internal, &callback),
        Err(refusal) => {
            assert!(matches!(refusal, Refusal::From | Refusal::To | Refusal::Denied));
            assert!(is_line(refusal.error()) && refusal.status() == 400);
        }
    }
    match Setup::read(&form) {
        Ok(setup) => kept(&setup),
        Err(fault) => assert!(is_line(&fault), "{fault:?}"),
    }
}

/// Nothing of it means anything in a dial string or in the dialplan.
fn called(click: &Click, internal: &Patterns, callback: &Callback) {
    assert!(internal.matches(click.from.as_bytes()) && click.from.bytes().all(|byte| byte.is_ascii_digit()));
    let bare = click.to.strip_prefix('+').unwrap_or(&click.to);
    assert!(!bare.is_empty() && click.to.len() <= 40 && click.to != click.from);
    assert!(
        bare.bytes()
            .all(|byte| byte.is_ascii_digit() || b"*#".contains(&byte))
    );
    assert!(!bare.starts_with("810"), "it is denied");
    let device = Device::of(&click.from, callback);
    assert_eq!(device.resource, format!("{}@from-internal/n", click.from));
    assert!(auto_answer(&device).iter().all(|(_, value)| is_line(value)));
}

/// What was accepted is what a restart finds.
fn kept(setup: &Setup) {
    assert!(is_line(&setup.url) && setup.url.to_ascii_lowercase().starts_with("http"));
    assert_eq!(Setup::from_text(&setup.to_text()).as_ref(), Ok(setup));
}

/// The CRM's answer: a line with the status and what Retry-After says, then the body.
pub fn reply(input: &[u8]) {
    let end = input
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(input.len());
    let head = String::from_utf8_lossy(&input[..end]);
    let (status, after) = head.split_once(' ').unwrap_or((&head, ""));
    let reply = Reply {
        status: status.parse().unwrap_or(200),
        retry_after: (!after.is_empty()).then(|| after.to_owned()),
        body: input.get(end + 1..).unwrap_or_default().to_vec(),
    };
    let now = SystemTime::UNIX_EPOCH;
    let acknowledged = reply.acknowledged(now);
    if let Err(trouble) = &acknowledged {
        assert!(is_line(&trouble.to_string()), "{trouble}");
        black_box((trouble.policy(), trouble.cure()));
    }
    match Contact::read(&reply, now) {
        Ok(contact) => {
            assert!(acknowledged.is_ok());
            clean(&contact);
        }
        Err(trouble) => assert!(is_line(&trouble.to_string()), "{trouble}"),
    }
    // The body holds the PBX's key where the status says that it is an answer.
    if let Err(trouble) = reply.pong(now)
        && (200..=299).contains(&reply.status)
    {
        assert_eq!(
            trouble.to_string(),
            "the answer is not Planfix's: ping was not answered with pbxToken and pbxUrl"
        );
    }
}

/// What the CRM says of a caller may go into a caller ID and into a dial string.
fn clean(contact: &Contact) {
    assert!(is_line(contact.name()) && contact.name().chars().count() <= 80);
    assert_eq!(contact.name().trim(), contact.name());
    let ext = contact.responsible_in_the_crm();
    assert!(ext.len() <= 20 && ext.bytes().all(|byte| byte.is_ascii_digit()));
    assert_eq!(&Contact::new(contact.name(), ext), contact, "clean is clean");
    let internal = Patterns::parse("_XXX").unwrap();
    let told = contact.responsible(&internal);
    assert_eq!(told, (ext.len() == 3).then_some(ext));
    for what in [contact::What::Name, contact::What::Responsible] {
        for how in [
            contact::How::Fresh,
            contact::How::Stale,
            contact::How::Late,
            contact::How::Failed,
        ] {
            let (value, status) = contact::value(what, contact, how, &internal);
            let told = matches!(status, contact::Status::Hit | contact::Status::Stale);
            assert_eq!(told, !value.is_empty());
        }
    }
}

/// The file that `setup` leaves.
pub fn setup(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Setup::from_text(&text) {
        Ok(setup) => kept(&setup),
        Err(fault) => {
            assert!(is_line(&fault), "{fault:?}");
            // The key must not reach the log with the fault.
            let stored: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let token = stored["planfix_token"].as_str().unwrap_or_default().trim();
            let elsewhere = stored["planfix_url"].as_str().unwrap_or_default().contains(token);
            let ours = "planfix_url or planfix_token is missing the key holds a blank or a control character";
            assert!(
                token.len() < 8 || elsewhere || ours.contains(token) || !fault.contains(token),
                "{fault:?}"
            );
        }
    }
}

/// The lines of a file in Asterisk's form (main/config.c, `process_text_line`), as far as planfix.conf uses it.
fn entries(text: &str) -> Vec<Entry> {
    let mut section = String::new();
    let mut entries = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.split(';').next().unwrap_or_default().trim();
        if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            name.clone_into(&mut section);
        } else if let Some((name, value)) = text.split_once('=') {
            entries.push(Entry {
                section: section.clone(),
                name: name.trim().to_owned(),
                value: value.trim_start_matches('>').trim().to_owned(),
                file: "planfix.conf".to_owned(),
                line,
            });
        }
    }
    entries
}

/// planfix.conf.
pub fn settings(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let entries = entries(&text);
    let read = Settings::read("planfix.conf", &entries);
    let settings = match read.settings {
        Ok(settings) => settings,
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= 21);
            for problem in problems {
                assert!(problem.place.starts_with("planfix.conf") && !problem.text.is_empty());
            }
            return;
        }
    };
    assert!(!settings.enabled || !settings.awaits_setup() || !settings.crm.pbx_token.is_empty());
    let scheme = settings.crm.url.split(':').next().unwrap_or_default();
    assert_eq!(settings.crm.is_tls(), scheme.eq_ignore_ascii_case("https"));
    // What the log may show of it holds no key.
    let shown = format!("{settings:?}");
    for key in [&settings.crm.token, &settings.crm.pbx_token, &settings.status.key] {
        let key = key.expose();
        let once = text.matches(key).count() == 1;
        assert!(key.len() < 12 || !once || !shown.contains(key), "{shown}");
    }
    // Whoever may guess as often as he likes must not have it easy.
    let watched = &settings.status.key;
    assert!(watched.is_empty() || (watched.expose().len() >= 16 && *watched != settings.crm.pbx_token));
    // A trace keeps what calls are followed by.
    let kept = Calls::from_options(&settings.calls.options()).unwrap();
    let followed = Calls {
        status_map: StatusMap::default(),
        ..settings.calls
    };
    assert_eq!(kept, followed);
}

/// What stands in dialplan functions, on the console and in single options.
pub fn words(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for read in [
        quantity::duration(&text).map(quantity::show_duration),
        quantity::bytes(&text).map(quantity::show_bytes),
        durations::Question::parse(&text).map(|question| question.show(1_499_999).to_string()),
        contact::What::parse(&text).map(|what| format!("{what:?}")),
    ] {
        assert!(read.is_err() || !read.unwrap().is_empty());
    }
    if let Some(kind) = Kind::from_word(&text) {
        assert_eq!(kind.word(), text);
    }
    if let Some(key) = bearer::key(std::iter::once(input)) {
        assert!(!key.is_empty() && key.trim_ascii() == key && input.trim_ascii_end().ends_with(key));
        assert_eq!(bearer::key([input, input].into_iter()), None);
    }
    for direction in [Direction::In, Direction::Out] {
        for map in [StatusMap::Api, StatusMap::Voxlink] {
            let ending = disposition::ending(input, direction, map);
            assert!(disposition::is_status(ending.status.as_bytes(), direction));
        }
    }
    let (patterns, number) = text.split_once('\n').unwrap_or((&text, ""));
    if let Ok(read) = Patterns::parse(patterns) {
        assert_eq!(Patterns::parse(&read.to_string()).as_ref(), Ok(&read));
        black_box(read.matches(number.as_bytes()));
    }
    if let Ok(read) = Trunks::parse(patterns) {
        assert_eq!(Trunks::parse(&read.to_string()).as_ref(), Ok(&read));
        let (technology, endpoint) = number.split_once('/').unwrap_or((number, ""));
        black_box(read.matches(technology, endpoint));
    }
    for room in [0, 1, 7, 80] {
        let lines = table::wrap(&text, room);
        assert!(lines.iter().map(String::len).sum::<usize>() <= text.len());
    }
}

/// A line with `country,area code,rewrite`, then a number as a channel has it.
pub fn number(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (options, raw) = text.split_once('\n').unwrap_or(("", &text));
    let mut options = options.splitn(3, ',');
    let mut numbering = Numbering::default();
    // An option that is refused leaves what was there.
    let _ = numbering.set_country(options.next().unwrap_or("7"));
    let _ = numbering.set_area_code(options.next().unwrap_or_default());
    let rewrite = options.next().unwrap_or_default();
    let plain = numbering.add_rewrite(rewrite).is_err() || rewrite.is_empty();
    let form = numbering.crm_form(raw);
    black_box(numbering.is_outside(raw, &Patterns::parse("_XXX,_XXXX").unwrap()));
    if form == ANONYMOUS {
        return;
    }
    let bare = form.strip_prefix('+').unwrap_or(&form);
    assert!(!bare.is_empty(), "{raw:?}");
    assert!(
        bare.bytes()
            .all(|byte| byte.is_ascii_digit() || b"*#".contains(&byte)),
        "{raw:?}: {form}"
    );
    assert!(bare.bytes().any(|byte| byte.is_ascii_digit()), "{raw:?}: {form}");
    if plain {
        assert_eq!(numbering.crm_form(&form), form, "of {raw:?}");
    }
}
