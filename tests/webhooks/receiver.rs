//! A receiver of webhooks, as simple as one can be: it keeps what it got, and answers what it is told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring};

use crate::common::{check, eventually};

pub(crate) const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    /// `POST /done HTTP/1.1`.
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

pub(crate) struct Receiver {
    pub(crate) port: u16,
    got: Arc<Mutex<Vec<Got>>>,
}

/// What it says to the first request, the second, and so on; the last answer is said to all behind it. Without an answer
/// it says nothing, and keeps the connection.
pub(crate) type Answers = &'static [Option<&'static str>];

impl Receiver {
    pub(crate) fn start(answers: Answers) -> Self {
        Self::listen(answers, None)
    }

    /// With a certificate for localhost, signed by `tls/ca.pem`.
    pub(crate) fn start_with_tls(answers: Answers) -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::listen(answers, Some(Arc::new(config)))
    }

    fn listen(answers: Answers, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = got.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, got, tls) = (stream.unwrap(), kept.clone(), tls.clone());
                std::thread::spawn(move || serve(stream, tls, answers, &got));
            }
        });
        Self { port, got }
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Waits until it has got so many requests.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Got> {
        eventually("so many requests", || check(self.got(), |got| got.len() >= count))
    }
}

fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, answers: Answers, got: &Mutex<Vec<Got>>) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    match tls {
        None => answer(stream, answers, got),
        Some(config) => {
            answer(StreamOwned::new(ServerConnection::new(config).unwrap(), stream), answers, got)
        }
    }
}

fn answer(stream: impl Read + Write, answers: Answers, got: &Mutex<Vec<Got>>) {
    let mut stream = BufReader::new(stream);
    // Whoever does not trust the certificate sends nothing.
    let Ok(request) = read(&mut stream) else { return };
    let said = {
        let mut got = got.lock().unwrap();
        got.push(request);
        answers[(got.len() - 1).min(answers.len() - 1)]
    };
    match said {
        // The sender may have gone.
        Some(text) => {
            drop(stream.get_mut().write_all(text.as_bytes()).and_then(|()| stream.get_mut().flush()))
        }
        None => drop(stream.read(&mut [0])),
    }
}

fn read(stream: &mut impl BufRead) -> std::io::Result<Got> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Got { line: line.trim_end().to_owned(), headers, body: String::from_utf8(body).unwrap() })
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The signature by this key, as the standard has it.
    pub(crate) fn signature(&self, key: &[u8]) -> String {
        let signed =
            format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        format!(
            "v1,{}",
            base64::Engine::encode(&base64::prelude::BASE64_STANDARD, hmac(key, signed.as_bytes()))
        )
    }
}

/// RFC 2104, by its letter, so that not the code under test tests itself.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let padded = |with: u8| (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect::<Vec<u8>>();
    let inner = Sha256::digest([&padded(0x36)[..], text].concat());
    Sha256::digest([&padded(0x5c)[..], &inner[..]].concat()).into()
}
