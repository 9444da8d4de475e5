//! An HTTP client that sends what it is told to the letter, right or wrong, and hides nothing of the answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// An answer that takes longer does not come.
const BOUND: Duration = Duration::from_secs(30);

/// A connection, which is kept from one request to the next.
#[derive(Debug)]
pub struct Http {
    stream: BufReader<TcpStream>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// Names and values in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// What followed them.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// The value of a header; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }
}

impl Http {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, BOUND)
            .with_context(|| format!("no HTTP server on {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BOUND))?;
        stream.set_write_timeout(Some(BOUND))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// When they are not taken.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .get_mut()
            .write_all(bytes)
            .context("a request was not taken")
    }

    /// Makes a request without a body, and reads the answer.
    ///
    /// # Errors
    /// When there is no whole answer within 30 s.
    pub fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Result<HttpAnswer> {
        let mut answer = self.request(method, target, headers)?;
        if method != "HEAD" {
            answer.body = self.body(&answer)?;
        }
        Ok(answer)
    }

    /// Makes a request without a body, and reads the answer up to its body.
    ///
    /// # Errors
    /// When there is none within 30 s.
    pub fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Result<HttpAnswer> {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: pbx\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        self.send(request.as_bytes())?;
        self.head()
    }

    /// Reads an answer up to its body.
    ///
    /// # Errors
    /// When there is none within 30 s.
    pub fn head(&mut self) -> Result<HttpAnswer> {
        let first = self.line()?;
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .with_context(|| format!("not an answer: {first:?}"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(": ")
                .with_context(|| format!("not a header: {line:?}"))?;
            headers.push((name.to_owned(), value.to_owned()));
        }
        Ok(HttpAnswer {
            status,
            headers,
            body: Vec::new(),
        })
    }

    /// Reads the body behind this head.
    ///
    /// # Errors
    /// When it does not come whole.
    pub fn body(&mut self, head: &HttpAnswer) -> Result<Vec<u8>> {
        let length = head.header("Content-Length");
        let length: usize = if length.is_empty() { 0 } else { length.parse()? };
        let mut body = vec![0; length];
        self.stream
            .read_exact(&mut body)
            .with_context(|| format!("a body of {length} bytes was not sent whole"))?;
        Ok(body)
    }

    /// Reads some of what comes; nothing at its end.
    ///
    /// # Errors
    /// When the connection is cut or nothing comes within 30 s.
    pub fn some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        Ok(self.stream.read(buffer)?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).context("there is no answer")?;
        ensure!(line.ends_with("\r\n"), "the answer ends within a line: {line:?}");
        line.truncate(line.len() - 2);
        Ok(line)
    }
}
