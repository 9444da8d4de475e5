//! nginx, the yardstick of what the module serves.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::process::{Launch, Process};
use crate::{free_tcp_port, until, workspace_root};

const BOUND: Duration = Duration::from_secs(30);

/// A running nginx that serves one folder. Dropping it kills it.
#[derive(Debug)]
pub struct Nginx {
    address: SocketAddr,
    #[expect(dead_code, reason = "held for its Drop")]
    process: Process,
    #[expect(dead_code, reason = "held for its Drop")]
    folder: TempDir,
}

impl Nginx {
    /// Serves what lies in `root`, set up as one would for many small and some large files.
    ///
    /// # Errors
    /// When there is no nginx and none can be obtained, or it does not start.
    pub fn start(root: &Path) -> Result<Self> {
        let mut words = words()?;
        let folder = TempDir::with_prefix("nginx-").context("cannot make a folder for nginx")?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_tcp_port()));
        let place = folder.path();
        // Its worker would be somebody who may not look into a scratch folder.
        let user = if rustix::process::getuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {}/{name};\n", place.display()))
            .collect();
        fs::write(
            place.join("nginx.conf"),
            format!(
                "daemon off;\nworker_processes auto;\n{user}\npid {0}/pid;\nerror_log {0}/errors;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{\naccess_log off;\nsendfile on;\ntcp_nopush on;\nkeepalive_requests 1000000;\n\
                 types {{ audio/mpeg mp3; }}\n{temporary}\
                 server {{ listen {address}; root {1}; }}\n}}\n",
                place.display(),
                root.display()
            ),
        )?;
        words.extend(["-c", "nginx.conf", "-e", "errors", "-p"].map(OsString::from));
        words.push(place.into());
        let output = File::create(place.join("output"))?;
        let mut process = Process::start(Launch {
            name: "nginx",
            words: &words,
            env: &[],
            dir: place,
            errors: Stdio::from(output.try_clone()?),
            output: Stdio::from(output),
        })?;
        until("nginx", BOUND, || {
            if let Some(status) = process.ended()? {
                let said =
                    ["output", "errors"].map(|name| fs::read_to_string(place.join(name)).unwrap_or_default());
                bail!("it ended by itself ({status}): {}", said.concat());
            }
            Ok(TcpStream::connect(address).ok().map(drop))
        })?;
        Ok(Self {
            address,
            process,
            folder,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The words that start it. The first use may take some seconds, as it downloads.
fn words() -> Result<Vec<OsString>> {
    let script = workspace_root().join("tools/nginx");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(
        output.status.success(),
        "tools/nginx has none, see its message above"
    );
    let text = String::from_utf8(output.stdout).context("tools/nginx printed no UTF-8")?;
    Ok(text.lines().map(OsString::from).collect())
}
