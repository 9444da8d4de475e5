//! The rarer messages of Asterisk's, provoked by real phones and read from recordings: each comes as one record with the
//! right channels in the right places, on every version.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Behaviour, Line, Office, Version, on_both, until};
use serde_json::Value;

on_both! {
    transfers_after_a_word,
    transfers_without_a_word,
    holds_pickups_and_parked_calls,
    channels_that_take_anothers_place,
}

/// Long for a loaded machine.
const BOUND: Duration = Duration::from_secs(30);
const TALK: Duration = Duration::from_millis(200);

/// What must be among the records of a scene, in words for whoever reads of a failure.
type Check = (&'static str, fn(&[Value]) -> bool);

/// Lets something happen, and what must have been seen of it.
struct Scene {
    name: &'static str,
    play: fn(&Office) -> Result<()>,
    seen: &'static [Check],
}

fn stage(version: Version, scenes: &[Scene]) -> Result<()> {
    let mut office = Office::open(version)?;
    for scene in scenes {
        let outcome =
            record(&office, scene).with_context(|| format!("{}:\n{}", scene.name, office.transcript()));
        office.stage.play(|_| outcome)?;
        office.tidy()?;
    }
    Ok(())
}

fn record(office: &Office, scene: &Scene) -> Result<()> {
    let asterisk = &office.stage.asterisk;
    let file = asterisk.scratch().join(format!("{}.jsonl", scene.name));
    asterisk.cli(&format!("planfix record start {}", file.display()))?;
    until("the beginning of the recording", BOUND, || {
        Ok(any(&read(&file)?, "caught-up", |_| true).then_some(()))
    })?;
    (scene.play)(office)?;
    office.tidy()?;
    let mut records = Vec::new();
    until("the last record", BOUND, || {
        records = read(&file)?;
        let count = |event: &str| records.iter().filter(|record| record["event"] == event).count();
        Ok((count("created") > 0 && count("created") == count("gone")).then_some(()))
    })
    .with_context(|| list(&records))?;
    let said = asterisk.cli("planfix record stop")?;
    ensure!(said.contains("records"), "{said}");
    for (what, check) in scene.seen {
        ensure!(check(&records), "{what} was not seen among\n{}", list(&records));
    }
    Ok(())
}

/// The whole lines after the header.
fn read(file: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().skip(1);
    lines
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

/// The records but those that come by the dozen.
fn list(records: &[Value]) -> String {
    let rare = records.iter().filter(|record| record["event"] != "changed");
    rare.map(|record| format!("{record}\n")).collect()
}

/// Whether that channel of the record is one of this endpoint's.
fn is(record: &Value, channel: &str, endpoint: &str) -> bool {
    let name = record[channel]["name"].as_str().unwrap_or_default();
    name.starts_with(&format!("PJSIP/{endpoint}-"))
}

fn any(records: &[Value], event: &str, wanted: impl Fn(&Value) -> bool) -> bool {
    records
        .iter()
        .any(|record| record["event"] == event && wanted(record))
}

/// An attended transfer of the client by 101's two channels.
fn attended(record: &Value) -> bool {
    record["success"] == true
        && is(record, "transferer", "101")
        && is(record, "consulting", "101")
        && record["transferer"]["uniqueid"] != record["consulting"]["uniqueid"]
        && is(record, "transferee", "trunk")
}

fn transfers_after_a_word(version: Version) -> Result<()> {
    stage(
        version,
        &[
            Scene {
                name: "by-the-phone",
                play: |office| {
                    let employee = talk(office)?;
                    consult(office, &employee, "102")?;
                    office.together(&["trunk", "102"])
                },
                seen: &[("an attended transfer to 102", |records| {
                    any(records, "attended-transfer", |record| {
                        attended(record) && is(record, "target", "102")
                    })
                })],
            },
            Scene {
                name: "to-an-application",
                play: |office| {
                    let employee = talk(office)?;
                    consult(office, &employee, "405")
                },
                seen: &[("an attended transfer to nobody's channel", |records| {
                    any(records, "attended-transfer", |record| {
                        attended(record) && record["target"].is_null()
                    })
                })],
            },
            Scene {
                name: "to-a-room",
                play: |office| {
                    let other = office.phone("102").call("404")?;
                    other.wait_answered()?;
                    let employee = talk(office)?;
                    consult(office, &employee, "404")?;
                    office.together(&["trunk", "102"])
                },
                // The room's announcer is in there too, so there are several.
                seen: &[("an attended transfer into a room", |records| {
                    any(records, "attended-transfer", |record| {
                        attended(record) && record["target"].is_null()
                    })
                })],
            },
            Scene {
                name: "all-three",
                play: |office| {
                    office.phone("102").will(Behaviour::Answer);
                    let employee = talk(office)?;
                    employee.press("*2")?;
                    employee.press("102")?;
                    office.together(&["101", "102"])?;
                    employee.press("*3")?;
                    office.together(&["trunk", "101", "102"])
                },
                // By keys Asterisk uses one channel of the transferer's for both sides.
                seen: &[("a transfer that all three are in", |records| {
                    any(records, "attended-transfer", |record| {
                        record["success"] == true
                            && is(record, "transferer", "101")
                            && is(record, "consulting", "101")
                            && is(record, "transferee", "trunk")
                    })
                })],
            },
        ],
    )
}

fn transfers_without_a_word(version: Version) -> Result<()> {
    stage(
        version,
        &[
            Scene {
                name: "to-an-extension",
                play: |office| {
                    office.phone("102").will(Behaviour::Answer);
                    let employee = talk(office)?;
                    employee.transfer("102")?;
                    office.together(&["trunk", "102"])
                },
                seen: &[("a blind transfer to 102", |records| {
                    any(records, "blind-transfer", |record| {
                        record["success"] == true
                            && is(record, "transferer", "101")
                            && is(record, "transferee", "trunk")
                            && record["exten"] == "102"
                            && record["context"] == "from-internal"
                    })
                })],
            },
            Scene {
                name: "by-the-callee",
                play: |office| {
                    office.phone("101").will(Behaviour::Redirect("102".to_owned()));
                    let client = office.client_calls("101")?;
                    let other = office.phone("102").expect_call()?;
                    other.answer()?;
                    client.talk(TALK)
                },
                seen: &[("a call that the phone sends on", |records| {
                    any(records, "dial", |record| {
                        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
                        let forwarded = record["forwarded"]["name"].as_str().unwrap_or_default();
                        is(record, "peer", "101")
                            && text("forward").contains("102")
                            && forwarded.starts_with("Local/102@")
                    })
                })],
            },
        ],
    )
}

fn holds_pickups_and_parked_calls(version: Version) -> Result<()> {
    stage(
        version,
        &[
            Scene {
                name: "hold",
                play: |office| {
                    let employee = talk(office)?;
                    employee.hold()?;
                    employee.talk(TALK)?;
                    employee.unhold()
                },
                seen: &[("a hold and its end, both by 101", |records| {
                    let held: Vec<(&Value, &Value)> = records
                        .iter()
                        .filter(|record| record["event"] == "hold" || record["event"] == "unhold")
                        .filter(|record| is(record, "channel", "101"))
                        .map(|record| (&record["event"], &record["channel"]["uniqueid"]))
                        .collect();
                    matches!(held[..], [(hold, one), (unhold, other)]
                        if hold == "hold" && unhold == "unhold" && one == other)
                })],
            },
            Scene {
                name: "pickup",
                play: |office| {
                    let client = office.client_calls("101")?;
                    client.wait_ringing()?;
                    office.phone("102").call("*8101")?.talk(TALK)
                },
                seen: &[("a pickup of 101 by 102", |records| {
                    any(records, "pickup", |record| {
                        is(record, "channel", "102") && is(record, "target", "101")
                    })
                })],
            },
            Scene {
                name: "park",
                play: |office| {
                    let employee = talk(office)?;
                    employee.transfer("700")?;
                    office.parked(1)?;
                    employee.hangup()?;
                    office.phone("102").call("701")?.talk(TALK)
                },
                seen: &[
                    ("the client in the parking lot", |records| {
                        any(records, "parking", |record| {
                            record["what"] == "parked" && is(record, "parkee", "trunk")
                        })
                    }),
                    ("the client taken back by 102", |records| {
                        any(records, "parking", |record| {
                            record["what"] == "retrieved"
                                && is(record, "parkee", "trunk")
                                && is(record, "retriever", "102")
                        })
                    }),
                ],
            },
        ],
    )
}

fn channels_that_take_anothers_place(version: Version) -> Result<()> {
    stage(
        version,
        &[Scene {
            name: "local",
            play: |office| {
                office.phone("101").will(Behaviour::Answer);
                let client = office.client_calls("211")?;
                client.wait_answered()?;
                office.loses_its_local_channels()?;
                client.talk(TALK)
            },
            seen: &[
                ("an entry in place of a Local channel", |records| {
                    any(records, "entered", |record| {
                        let local = records.iter().find(|other| {
                            other["event"] == "created" && other["channel"]["uniqueid"] == record["swapped"]
                        });
                        let name = local.and_then(|record| record["channel"]["name"].as_str());
                        name.is_some_and(|name| name.starts_with("Local/101@company-"))
                    })
                }),
                ("the leaving before each such entry", |records| {
                    records.iter().enumerate().all(|(at, record)| {
                        record["swapped"].is_null()
                            || any(&records[..at], "left", |left| {
                                left["channel"]["uniqueid"] == record["swapped"]
                                    && left["bridge"]["uniqueid"] == record["bridge"]["uniqueid"]
                            })
                    })
                }),
            ],
        }],
    )
}

/// The client talks to 101, who is returned.
fn talk(office: &Office) -> Result<Line> {
    office.phone("101").will(Behaviour::Answer);
    let client = office.client_calls("101")?;
    let employee = office.phone("101").expect_call()?;
    client.talk(TALK)?;
    office.together(&["trunk", "101"])?;
    Ok(employee)
}

/// 101 calls that number besides, and then joins the client with whoever is there.
fn consult(office: &Office, employee: &Line, number: &str) -> Result<()> {
    office.phone("102").will(Behaviour::Answer);
    employee.hold()?;
    let question = office.phone("101").call(number)?;
    question.talk(TALK)?;
    employee.transfer_to(&question)?;
    let code = employee.wait_transferred()?;
    ensure!(code == 200, "the transfer ended with {code}");
    Ok(())
}
