//! A blocking HTTP/1.1 client over one connection that is kept alive: cheap enough not to be what is measured.

use std::borrow::Cow;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

const BUFFER_BYTES: usize = 1 << 18;

/// A connection to a server.
pub(super) struct Wire {
    stream: BufReader<TcpStream>,
    host: String,
}

enum Length {
    Bytes(u64),
    Chunked,
}

impl Wire {
    /// Connects to an address such as `http://127.0.0.1:8080`.
    pub(super) fn open(address: &str) -> Result<Self> {
        let host = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(&host).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(BUFFER_BYTES, stream), host })
    }

    /// Asks for JSON.
    pub(super) fn get(&mut self, path: &str) -> Result<Value> {
        self.call("GET", path, "")
    }

    /// Sends JSON, or nothing, and gives the JSON of the answer; `null` if there is none.
    pub(super) fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Value> {
        let request = self.request(method, path, body);
        let mut answer = Vec::new();
        self.exchange(&request, &mut answer)?;
        if answer.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&answer)?) }
    }

    /// The bytes of a request; a job that is submitted so is waited for.
    pub(super) fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let (host, length) = (&self.host, body.len());
        let fields =
            "Accept: application/json\r\nContent-Type: application/json\r\nPrefer: wait=10\r\nContent-Length";
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}: {length}\r\n\r\n{body}").into_bytes()
    }

    /// Sends the bytes of a request, and puts the body of the answer into `answer`.
    pub(super) fn exchange(&mut self, request: &[u8], answer: &mut Vec<u8>) -> Result<()> {
        answer.clear();
        self.stream.get_mut().write_all(request)?;
        self.answer(|piece| {
            answer.extend_from_slice(piece);
            Ok(())
        })
    }

    /// Streams NDJSON up; gives the JSON of the answer.
    pub(super) fn post_lines<'a>(
        &mut self,
        path: &str,
        blocks: impl Iterator<Item = Cow<'a, [u8]>>,
    ) -> Result<Value> {
        let sent = self.send_lines(path, blocks);
        let mut answer = Vec::new();
        // An answer says more than the broken pipe that came before it.
        self.answer(|piece| {
            answer.extend_from_slice(piece);
            Ok(())
        })?;
        sent?;
        Ok(serde_json::from_slice(&answer)?)
    }

    fn send_lines<'a>(&mut self, path: &str, blocks: impl Iterator<Item = Cow<'a, [u8]>>) -> Result<()> {
        let fields = "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked";
        let stream = self.stream.get_mut();
        write!(stream, "POST {path} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n\r\n", self.host)?;
        for block in blocks {
            write!(stream, "{:x}\r\n", block.len())?;
            stream.write_all(&block)?;
            stream.write_all(b"\r\n")?;
        }
        Ok(stream.write_all(b"0\r\n\r\n")?)
    }

    /// Asks for NDJSON, and passes it on as it comes.
    pub(super) fn get_lines(&mut self, path: &str, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        write!(self.stream.get_mut(), "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host)?;
        self.answer(each)
    }

    fn answer(&mut self, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (status, length) = self.head()?;
        if (200..300).contains(&status) {
            return self.body(&length, each);
        }
        let mut body = Vec::new();
        self.body(&length, |piece| {
            body.extend_from_slice(piece);
            Ok(())
        })?;
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        bail!("the server answered {status}: {}", problem["detail"].as_str().unwrap_or("no detail"))
    }

    fn head(&mut self) -> Result<(u16, Length)> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("{line:?} is no answer of HTTP"))?;
        let mut length = Length::Bytes(0);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", bytes)) => length = Length::Bytes(bytes.trim().parse()?),
                Some(("transfer-encoding", _)) => length = Length::Chunked,
                Some(_) => {}
                None => return Ok((status, length)),
            }
        }
    }

    fn body(&mut self, length: &Length, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match length {
            Length::Bytes(bytes) => self.pieces(*bytes, &mut each),
            Length::Chunked => loop {
                let bytes = u64::from_str_radix(&self.line()?, 16).context("the length of a chunk")?;
                self.pieces(bytes, &mut each)?;
                self.line()?;
                if bytes == 0 {
                    return Ok(());
                }
            },
        }
    }

    fn pieces(&mut self, mut left: u64, each: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while left > 0 {
            let there = self.stream.fill_buf()?;
            if there.is_empty() {
                bail!("the server cut its answer short");
            }
            let taken = there.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            each(&there[..taken])?;
            self.stream.consume(taken);
            left -= taken as u64;
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}
