//! `planfix/status` and `planfix/metrics`, live: figures for whoever shows the key, and nothing for anybody else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Http, HttpAnswer, Stage, Version, flat, on_both, until};
use serde_json::Value;

on_both! {
    without_a_key_there_is_no_such_address,
    whoever_shows_the_key_is_answered,
    whoever_does_not_is_refused,
    figures_are_there_whether_calls_are_reported_or_not,
}

const BOUND: Duration = Duration::from_secs(30);
const JSON: &str = "/planfix/status";
const METRICS: &str = "/planfix/metrics";

fn ask(stage: &Stage, method: &str, target: &str, headers: &[(&str, &str)]) -> Result<HttpAnswer> {
    Http::connect(stage.asterisk.http())?.ask(method, target, headers)
}

fn authorized(stage: &Stage, method: &str, target: &str) -> Result<HttpAnswer> {
    let shown = format!("Bearer {}", stage.status_key());
    ask(stage, method, target, &[("Authorization", &shown)])
}

fn figures(stage: &Stage) -> Result<Value> {
    let answer = authorized(stage, "GET", JSON)?;
    ensure!(answer.status == 200, "{answer:?}");
    serde_json::from_slice(&answer.body).context("the status is no JSON")
}

fn metrics(stage: &Stage) -> Result<String> {
    let answer = authorized(stage, "GET", METRICS)?;
    ensure!(answer.status == 200, "{answer:?}");
    String::from_utf8(answer.body).context("the metrics are no text")
}

/// Everything of an answer but what tells when it was given.
fn undated(mut answer: HttpAnswer) -> HttpAnswer {
    answer.headers.retain(|(name, _)| name != "Date");
    answer
}

fn without_a_key_there_is_no_such_address(version: Version) -> Result<()> {
    Stage::plan(version).play(|stage| {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let nothing = undated(ask(stage, method, "/planfix/nothing", &[])?);
            ensure!(nothing.status == 404, "{nothing:?}");
            for target in [JSON, METRICS] {
                for headers in [
                    &[][..],
                    &[("Authorization", "Bearer ")],
                    &[("Authorization", "Bearer x")],
                ] {
                    let answer = undated(ask(stage, method, target, headers)?);
                    ensure!(answer == nothing, "{method} {target}: {answer:?}");
                }
            }
        }
        ensure!(!stage.status()?.contains("Watchers:"));
        Ok(())
    })
}

fn whoever_shows_the_key_is_answered(version: Version) -> Result<()> {
    let plan = Stage::plan(version).watched().delivery("retry_max = 1");
    plan.play(|stage| {
        let before = figures(stage)?;
        ensure!(before["enabled"] == 1 && before["mode"] == "dialplan", "{before}");
        ensure!(
            before["crm_state"] == "untried" && before["delivered"] == 0,
            "{before}"
        );
        stage.queue("INCOMING,79101234567,101,watched.1")?;
        stage.taken_in(1)?;
        stage.drained()?;
        let after = figures(stage)?;
        ensure!(after["events"]["queued"] == 1, "{after}");
        ensure!(
            after["delivered"] == 1 && after["crm_state"] == "reachable",
            "{after}"
        );
        ensure!(
            after["queue_waiting"] == 0 && after["queue_oldest_seconds"] == 0.0,
            "{after}"
        );
        ensure!(after["calls_followed"].is_null(), "the dialplan reports: {after}");
        ensure!(
            after["spool_bytes"].as_u64() > Some(0) && after["spool_limit_bytes"] == 1 << 30,
            "{after}"
        );
        let text = metrics(stage)?;
        for line in [
            "planfix_enabled 1",
            "# TYPE planfix_delivered_total counter",
            "planfix_delivered_total 1",
            "planfix_events_total{answer=\"queued\"} 1",
            "planfix_crm_state{state=\"reachable\"} 1",
            "planfix_crm_state{state=\"unreachable\"} 0",
            "planfix_dropped_total{reason=\"stale\"} 0",
        ] {
            ensure!(text.lines().any(|own| own == line), "{line}: {text}");
        }
        // Nobody is in there: neither who called, nor who was called, nor by which name.
        let json = after.to_string();
        for (what, text) in [("the JSON", &json), ("the metrics", &text)] {
            for private in [
                "79101234567",
                "watched.1",
                stage.crm.url(),
                stage.crm.token(),
                stage.crm.pbx_token(),
                stage.status_key(),
                &stage.asterisk.spool().display().to_string(),
            ] {
                ensure!(!text.contains(private), "{what}: {private}");
            }
        }
        for (target, kind) in [
            (JSON, "application/json; charset=utf-8"),
            (METRICS, "text/plain; version=0.0.4; charset=utf-8"),
        ] {
            let (whole, head) = (
                authorized(stage, "GET", target)?,
                authorized(stage, "HEAD", target)?,
            );
            for answer in [&whole, &head] {
                ensure!(
                    answer.status == 200 && answer.header("Content-Type") == kind,
                    "{answer:?}"
                );
                ensure!(answer.header("Cache-Control") == "no-store", "{answer:?}");
            }
            ensure!(whole.body.len().to_string() == whole.header("Content-Length"));
            ensure!(!head.header("Content-Length").is_empty());
            let posted = authorized(stage, "POST", target)?;
            ensure!(
                posted.status == 405 && posted.header("Allow") == "GET, HEAD" && posted.body.is_empty(),
                "{posted:?}"
            );
        }
        // Again and again on one connection, as Prometheus does.
        let mut http = Http::connect(stage.asterisk.http())?;
        let shown = format!("bearer {}", stage.status_key());
        for _ in 0..20 {
            let answer = http.ask("GET", METRICS, &[("Authorization", &shown)])?;
            ensure!(answer.status == 200, "{answer:?}");
        }
        let check = flat(&stage.asterisk.cli("planfix check")?);
        ensure!(
            check.contains("/planfix/metrics answer whoever shows the key"),
            "{check}"
        );
        // A Planfix that is away is told of, and so is what waits for it.
        stage.crm.fault("refuse")?;
        stage.queue("COMPLETED,79101234567,101,watched.1")?;
        let mut away = Value::Null;
        until("a Planfix out of reach", BOUND, || {
            away = figures(stage)?;
            Ok((away["crm_state"] == "unreachable").then_some(()))
        })
        .with_context(|| away.to_string())?;
        ensure!(away["queue_waiting"] == 1, "{away}");
        stage.crm.clear_faults()?;
        stage.drained()
    })
}

fn whoever_does_not_is_refused(version: Version) -> Result<()> {
    Stage::plan(version).watched().play(|stage| {
        let key = stage.status_key().to_owned();
        let refused = |answer: HttpAnswer| -> Result<()> {
            ensure!(
                answer.status == 401 && answer.header("WWW-Authenticate") == "Bearer" && answer.body.is_empty(),
                "{answer:?}"
            );
            Ok(())
        };
        for target in [JSON, METRICS] {
            refused(ask(stage, "GET", target, &[])?)?;
            // The key counts in one place alone, which no access log keeps.
            refused(ask(stage, "GET", &format!("{target}?key={key}"), &[])?)?;
            refused(ask(stage, "POST", target, &[])?)?;
            let longer = format!("Bearer {key}x");
            for wrong in [
                "",
                "Bearer",
                "Bearer ",
                "Bearer x",
                &longer,
                &longer[..longer.len() - 2],
                &longer.to_uppercase(),
                &format!("Basic {key}"),
                &key,
                &format!("Bearer {}", stage.crm.pbx_token()),
                &format!("Bearer {}", stage.crm.token()),
                &format!("Bearer {}", "x".repeat(3_000)),
            ] {
                refused(ask(stage, "GET", target, &[("Authorization", wrong)])?)
                    .with_context(|| format!("{target}: {wrong:?}"))?;
            }
            let right = format!("Bearer {key}");
            let twice = [("Authorization", &*right), ("Authorization", "Bearer x")];
            refused(ask(stage, "GET", target, &twice)?).context("two keys")?;
        }
        let counted = figures(stage)?;
        ensure!(counted["status_refused"]["key"] == 32, "{counted}");
        let said = || {
            let log = stage.asterisk.log();
            log.matches("it does not show the key of [status]").count()
        };
        until("a word in the log", BOUND, || Ok((said() > 0).then_some(())))?;
        ensure!(said() < 5, "each of them was logged");
        ensure!(stage.row("Watchers")?.ends_with("0 by the ACL, 32 without the key"));

        stage.asterisk.configure(
            "acl.conf",
            "[nobody]\ndeny = 0.0.0.0/0.0.0.0\n\n[here]\ndeny = 0.0.0.0/0.0.0.0\npermit = 127.0.0.1\n\n[empty]\n",
        )?;
        stage.asterisk.cli("module reload acl")?;
        for (list, status) in [("nobody", 403), ("nothing", 403), ("empty", 403), ("here", 200)] {
            stage.reload_with(&format!("{}acl = {list}\n", stage.settings()))?;
            let row = stage.row("Mode")?;
            ensure!(row == "dialplan", "{row}");
            for target in [JSON, METRICS] {
                let answer = authorized(stage, "GET", target)?;
                ensure!(answer.status == status, "{list}: {answer:?}");
                ensure!(status == 200 || answer.body.is_empty(), "{answer:?}");
            }
            let check = flat(&stage.asterisk.cli("planfix check")?);
            let is_missing = check.contains(&format!("there is no ACL '{list}'"));
            ensure!(is_missing == ["nothing", "empty"].contains(&list), "{list}: {check}");
        }
        let counted = figures(stage)?;
        ensure!(counted["status_refused"]["acl"] == 6, "{counted}");
        Ok(())
    })
}

fn figures_are_there_whether_calls_are_reported_or_not(version: Version) -> Result<()> {
    let mut stage = Stage::plan(version).auto().watched().start()?;
    stage.play(|stage| {
        let right = stage.settings().to_owned();
        let auto = figures(stage)?;
        ensure!(auto["mode"] == "auto" && auto["calls_followed"] == 0, "{auto}");
        // A file with a fault is not taken over, and that can be seen from afar.
        stage.reload_with(&format!("{right}colour = red\n"))?;
        let faulty = figures(stage)?;
        ensure!(
            faulty["configuration_problems"] == 1 && faulty["enabled"] == 1,
            "{faulty}"
        );
        // Disabled.
        stage.reload_with(&right.replace("[general]", "[general]\nenabled = no"))?;
        let disabled = figures(stage)?;
        ensure!(
            disabled["enabled"] == 0 && disabled["configuration_problems"] == 0,
            "{disabled}"
        );
        ensure!(
            disabled["delivered"].is_null() && disabled["awaits_setup"] == 0,
            "{disabled}"
        );
        let names = |figures: &Value| {
            figures
                .as_object()
                .map(|all| all.keys().cloned().collect::<Vec<_>>())
        };
        ensure!(names(&disabled) == names(&auto), "{disabled}");
        let text = metrics(stage)?;
        ensure!(
            text.contains("\nplanfix_enabled 0\n") && !text.contains("planfix_delivered"),
            "{text}"
        );
        // Planfix has to send its address and its key first.
        let waiting = right
            .replace(&format!("token = {}\npbx", stage.crm.token()), "token =\npbx")
            .replace(&format!("url = {}", stage.crm.url()), "url =");
        stage.reload_with(&waiting)?;
        let waiting = figures(stage)?;
        ensure!(
            waiting["enabled"] == 0 && waiting["awaits_setup"] == 1,
            "{waiting}"
        );
        // No file that could ever be read: no key either.
        stage.asterisk.cli("module unload res_planfix.so")?;
        stage
            .asterisk
            .configure("planfix.conf", &format!("{right}colour = red\n"))?;
        stage.asterisk.cli("module load res_planfix.so")?;
        until("the module", BOUND, || {
            Ok(stage.status()?.contains("Mode:").then_some(()))
        })?;
        for target in [JSON, METRICS] {
            ensure!(authorized(stage, "GET", target)?.status == 404);
        }
        Ok(())
    })
}
