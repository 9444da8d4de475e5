//! What the stand-in CRM has received, printed line by line as it comes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::Sandbox;
use serde_json::Value;

use crate::time::Clock;
use harness::Interruption;

/// Between two looks.
const PACE: Duration = Duration::from_millis(50);

/// A request as the CRM has received and answered it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) cmd: String,
    /// The event, or the command where there is none.
    pub(crate) event: String,
    pub(crate) phone: String,
    pub(crate) ext: String,
    pub(crate) status: String,
    pub(crate) duration: String,
    pub(crate) callid: String,
    pub(crate) is_recorded: bool,
    /// Why it was not simply taken; empty when it was.
    pub(crate) fault: String,
    time: String,
}

impl Received {
    fn new(request: &Value) -> Self {
        let fields = request["fields"].as_array();
        let field = |name: &str| {
            fields
                .into_iter()
                .flatten()
                .find(|pair| pair[0] == name)
                .and_then(|pair| pair[1].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let mut faults: Vec<String> = [&request["problems"], &request["violations"]]
            .into_iter()
            .filter_map(Value::as_array)
            .flatten()
            // A violation is an object that holds its sentence.
            .map(|fault| fault["text"].as_str().or(fault.as_str()))
            .map(|text| text.unwrap_or("a fault without a word").to_owned())
            .collect();
        if request["status"] != 200 || request["processed"] != true {
            faults.insert(0, format!("answered with {}", request["status"]));
        }
        let cmd = field("cmd");
        let event = if cmd == "event" {
            field("event")
        } else {
            cmd.clone()
        };
        Self {
            cmd,
            event,
            phone: field("phone"),
            ext: field("ext"),
            status: field("status"),
            duration: field("duration"),
            callid: field("callid"),
            is_recorded: field("is_recorded") == "1",
            fault: faults.join("; "),
            time: request["time"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// What the employee sees.
    fn meaning(&self) -> &'static str {
        match self.event.as_str() {
            "INCOMING" | "OUTGOING" => "a card appears",
            "ACCEPTED" => "it was answered",
            "COMPLETED" if self.is_recorded => "the card closes, a recording follows",
            "COMPLETED" => "the card closes",
            "contact" => "who is calling, and who looks after him?",
            "record" => "the recording can be played",
            "ping" => "are both sides set up alike?",
            _ => "",
        }
    }
}

/// The list.
pub(crate) struct Feed<'a> {
    clock: &'a Clock,
    interruption: &'a Interruption,
    received: Vec<Received>,
    last: u64,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(clock: &'a Clock, interruption: &'a Interruption) -> Self {
        Self {
            clock,
            interruption,
            received: Vec::new(),
            last: 0,
        }
    }

    pub(crate) fn header(&self) {
        println!("What the CRM receives, as it happens:\n");
        println!(
            "{}",
            row("time", "request", "phone", "ext", "status", "talk", "").trim_end()
        );
    }

    /// Prints what is new.
    pub(crate) fn look(&mut self, crm: &Sandbox) -> Result<()> {
        let answer = crm.get(&format!("/_sandbox/requests?since={}", self.last))?;
        let requests = answer["requests"]
            .as_array()
            .context("the stand-in CRM lists no requests")?;
        for request in requests {
            let received = Received::new(request);
            let talk = match received.duration.as_str() {
                "" => String::new(),
                seconds => format!("{seconds} s"),
            };
            println!(
                "{}",
                row(
                    &self.clock.of(&received.time),
                    &received.event,
                    &received.phone,
                    &received.ext,
                    &received.status,
                    &talk,
                    received.meaning(),
                )
                .trim_end()
            );
            if !received.fault.is_empty() {
                println!("{:16}^ {}", "", received.fault);
            }
            self.received.push(received);
        }
        self.last = answer["last"].as_u64().unwrap_or(self.last);
        Ok(())
    }

    /// Prints what comes until it is `enough`. False when it is not enough after `bound`.
    pub(crate) fn until(
        &mut self,
        crm: &Sandbox,
        bound: Duration,
        enough: impl Fn(&[Received]) -> bool,
    ) -> Result<bool> {
        let begin = Instant::now();
        loop {
            self.interruption.check()?;
            self.look(crm)?;
            if enough(&self.received) {
                return Ok(true);
            }
            if begin.elapsed() > bound {
                return Ok(false);
            }
            thread::sleep(PACE);
        }
    }

    pub(crate) fn interrupted(&self) -> Result<()> {
        self.interruption.check()
    }

    /// Everything so far.
    pub(crate) fn received(&self) -> &[Received] {
        &self.received
    }
}

fn row(time: &str, event: &str, phone: &str, ext: &str, status: &str, talk: &str, meaning: &str) -> String {
    format!("  {time:<12}  {event:<10} {phone:<12} {ext:<4} {status:<8} {talk:>5}  {meaning}")
}
