//! The CRM over HTTP.
//!
//! Invariants:
//! - the token is added here and nowhere else, and no error or log text is made from a request's body;
//! - certificates are always verified: there is no option to turn that off;
//! - redirects are not followed, because the token must not go to an address that the operator did not write;
//! - headers and body of an answer are bounded, and so is every phase in time;
//! - [`Client::shutdown`] ends every request at once.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use once_cell::sync::Lazy;
use rustls::crypto::CryptoProvider;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::{Connector, RustlsConnector};
use ureq::{Agent, Error};

use super::connection::LinkConnector;
use super::names::{NameResolver, Names};
use crate::core::reply::{Pong, Reply, Trouble};
use crate::core::settings::{Crm, Delivery};

/// An answer's body is empty or a line of JSON; more than this is not Planfix's.
const MOST_BODY: u64 = 64 * 1024;
/// And so are its headers.
const MOST_HEADERS: usize = 32 * 1024;

/// One for the process: building it costs more than a request.
static PROVIDER: Lazy<Arc<CryptoProvider>> = Lazy::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// A connection pool to one CRM.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    credentials: Credentials,
}

/// The encoded `&planfix_token=…`, hidden from `Debug`.
struct Credentials(String);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Client {
    /// A client for these settings. It connects when there is something to send.
    ///
    /// # Errors
    /// A sentence for the operator: `tls_ca_file` cannot be read, or the system has no certificates.
    pub fn new(crm: &Crm, delivery: &Delivery, names: Arc<Names>) -> Result<Self, String> {
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::clone(&PROVIDER));
        if crm.is_tls() {
            tls = tls.root_certs(RootCerts::new_with_certs(&roots(&crm.tls_ca_file)?));
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("res_planfix/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .max_response_header_size(MOST_HEADERS)
            .max_idle_connections(delivery.workers)
            .max_idle_connections_per_host(delivery.workers)
            // Only per-phase timeouts: a global or resolving one makes ureq start a thread for each lookup.
            .timeout_connect(Some(delivery.connect_timeout))
            .timeout_send_request(Some(delivery.response_timeout))
            .timeout_send_body(Some(delivery.response_timeout))
            .timeout_recv_response(Some(delivery.response_timeout))
            .timeout_recv_body(Some(delivery.response_timeout))
            .build();
        let agent = Agent::with_parts(
            config,
            LinkConnector.chain(RustlsConnector::default()),
            NameResolver(names),
        );
        let token: String = form_urlencoded::byte_serialize(crm.token.expose().as_bytes()).collect();
        let credentials = Credentials(format!("&planfix_token={token}"));
        Ok(Self {
            agent,
            url: crm.url.clone(),
            credentials,
        })
    }

    /// Sends a request whose body lacks only the token, and reads the answer.
    ///
    /// # Errors
    /// When there is no answer, or none that can be HTTP.
    pub fn send(&self, body: &str) -> Result<Reply, Trouble> {
        let mut form = String::with_capacity(body.len() + self.credentials.0.len());
        form.push_str(body);
        form.push_str(&self.credentials.0);
        match self.post(&form) {
            // A kept connection that the server has just closed looks like this. At least once is the rule, so one more
            // try is right whether or not the server has seen the first.
            Err(Error::Io(error)) if is_broken(&error) => self.post(&form),
            other => other,
        }
        .map_err(trouble)
    }

    fn post(&self, form: &str) -> Result<Reply, Error> {
        let mut response = self
            .agent
            .post(&self.url)
            .content_type("application/x-www-form-urlencoded")
            .send(form)?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned);
        let body = match response.body_mut().with_config().limit(MOST_BODY).read_to_vec() {
            Ok(body) => body,
            // The status tells enough of an error; only an acknowledgement has to be whole.
            Err(_) if status >= 300 => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Reply {
            status,
            retry_after,
            body,
        })
    }

    /// Asks for `ping`: the PBX's settings as Planfix has them.
    ///
    /// # Errors
    /// As [`Client::send`], and whatever the answer's status says.
    pub fn ping(&self) -> Result<Pong, Trouble> {
        self.send("cmd=ping")?.pong(SystemTime::now())
    }

    /// Asks for the address alone, without a key, and tells the answer's status.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn status(&self) -> Result<u16, Trouble> {
        let answer = self.agent.get(&self.url).call().map_err(trouble)?;
        Ok(answer.status().as_u16())
    }

    /// Breaks off every request and refuses new ones.
    pub fn shutdown(&self) {
        self.agent.clone().shutdown();
    }
}

/// The certificates to trust.
fn roots(file: &str) -> Result<Vec<Certificate<'static>>, String> {
    if !file.is_empty() {
        let text =
            fs::read(file).map_err(|error| format!("'tls_ca_file': {file} cannot be read: {error}"))?;
        let roots: Vec<_> = parse_pem(&text)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        return if roots.is_empty() {
            Err(format!(
                "'tls_ca_file': {file} holds no certificate: expected PEM"
            ))
        } else {
            Ok(roots)
        };
    }
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(
            "the system has no CA certificates: install the package ca-certificates or set 'tls_ca_file'"
                .to_owned(),
        );
    }
    Ok(found
        .certs
        .iter()
        .map(|certificate| Certificate::from_der(certificate.as_ref()).to_owned())
        .collect())
}

fn is_broken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    ) && !is_tls(error)
}

fn is_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.downcast_ref::<rustls::Error>().is_some())
}

fn trouble(error: Error) -> Trouble {
    match error {
        Error::Io(error) if is_tls(&error) => Trouble::Tls(error.to_string()),
        Error::Io(error) => Trouble::Network(error.to_string()),
        Error::Timeout(phase) => Trouble::Network(format!("no answer in time ({phase})")),
        Error::HostNotFound => Trouble::Network("the name was not found".to_owned()),
        Error::ConnectionFailed => Trouble::Network("the connection failed".to_owned()),
        Error::Tls(text) => Trouble::Tls(text.to_owned()),
        Error::Rustls(error) => Trouble::Tls(error.to_string()),
        Error::Pem(error) => Trouble::Tls(error.to_string()),
        Error::BodyExceedsLimit(limit) => Trouble::Foreign(format!("its body is longer than {limit} bytes")),
        other => Trouble::Foreign(other.to_string()),
    }
}
