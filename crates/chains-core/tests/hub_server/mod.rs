//! A server on this machine that speaks the hub's routes, keeps a log and makes faults on demand.

pub(crate) mod place;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What goes wrong when a file is sent.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// The length is right, half of the bytes come.
    Truncated,
    /// The length is right, one byte is another.
    Damaged,
    /// Listed, but not there.
    Missing,
}

#[derive(Default)]
pub(crate) struct State {
    /// Commit of each revision.
    pub(crate) revisions: BTreeMap<String, String>,
    /// Bytes by commit and name.
    pub(crate) files: BTreeMap<(String, String), Vec<u8>>,
    pub(crate) fault: Option<(&'static str, Fault)>,
    /// Every request answers 503.
    pub(crate) down: bool,
    /// Sent instead of the listing.
    pub(crate) listing: Option<String>,
    /// `METHOD PATH` and the token of each request; paths of the store begin with `/store/`.
    pub(crate) log: Vec<(String, Option<String>)>,
    store: String,
}

/// The hub, and a store on another port to which large files are redirected.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

/// An answer: status, headers, body, and how much of the body is sent.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    sent: usize,
}

impl Answer {
    fn new(status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Self {
        Self { status, headers, sent: body.len(), body }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::new(status, vec![("x-error-code", code.to_owned())], Vec::new())
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (endpoint, store) = (listen(&state), listen(&state));
        state.lock().unwrap().store = store;
        Self { endpoint, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Makes `revision` the commit, with these files.
    pub(crate) fn push(&self, revision: &str, commit: &str, files: &[(&str, Vec<u8>)]) {
        let mut state = self.state();
        state.revisions.insert(revision.to_owned(), commit.to_owned());
        for (name, bytes) in files {
            state.files.insert((commit.to_owned(), (*name).to_owned()), bytes.clone());
        }
    }

    /// The requests since the last call.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log).into_iter().map(|(line, _)| line).collect()
    }
}

fn listen(state: &Arc<Mutex<State>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            thread::spawn(move || serve(stream, &state));
        }
    });
    address
}

/// One request; the client may hang up at any time.
fn serve(mut stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let request = lines.next()?.ok()?;
    let mut token = None;
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("authorization")
        {
            token = Some(value.to_owned());
        }
    }
    let (line, _) = request.rsplit_once(' ')?;
    let answer = {
        let mut state = state.lock().unwrap();
        state.log.push((line.to_owned(), token));
        route(&state, line.split_once(' ')?.1)
    };
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", answer.body.len());
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&answer.body[..answer.sent]).ok()
}

fn route(state: &State, path: &str) -> Answer {
    if state.down {
        return Answer::error(503, "");
    }
    if let Some(rest) = path.strip_prefix("/store/") {
        return store(state, rest);
    }
    if let Some(revision) = path.strip_prefix("/api/models/owner/name/revision/") {
        return listing(state, &revision.replace("%2F", "/"));
    }
    // Small files are sent on to another route of the same host, as the hub does.
    let rest = match path.strip_prefix("/owner/name/resolve/") {
        Some(rest) if rest.ends_with("/README.md") => {
            return Answer::new(307, vec![("location", format!("/cached/{rest}"))], Vec::new());
        }
        Some(rest) => rest,
        None => match path.strip_prefix("/cached/") {
            Some(rest) => rest,
            None => return Answer::error(404, "RepoNotFound"),
        },
    };
    file(state, rest)
}

fn listing(state: &State, revision: &str) -> Answer {
    let json = vec![("content-type", "application/json".to_owned())];
    if let Some(text) = &state.listing {
        return Answer::new(200, json, text.clone().into_bytes());
    }
    // A commit stays when its branch has moved on.
    let commits = || state.files.keys().map(|(commit, _)| commit);
    let known =
        state.revisions.get(revision).or_else(|| commits().find(|commit| *commit == revision));
    let Some(commit) = known else {
        return Answer::error(404, "RevisionNotFound");
    };
    let siblings: Vec<_> = state
        .files
        .keys()
        .filter(|(of, _)| of == commit)
        .map(|(_, name)| serde_json::json!({ "rfilename": name }))
        .collect();
    let body = serde_json::json!({ "sha": commit, "private": false, "siblings": siblings });
    Answer::new(200, json, body.to_string().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The id that git gives to a file.
pub(crate) fn git_id(bytes: &[u8]) -> String {
    hex(&Sha1::digest([format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat()))
}

/// The digest of a large file.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn find<'a>(state: &'a State, rest: &str) -> Option<(&'a str, &'a Vec<u8>, Option<Fault>)> {
    let (commit, name) = rest.split_once('/')?;
    let (key, bytes) = state.files.get_key_value(&(commit.to_owned(), name.to_owned()))?;
    let fault = state.fault.filter(|(of, _)| *of == name).map(|(_, fault)| fault);
    Some((&key.1, bytes, fault))
}

fn file(state: &State, rest: &str) -> Answer {
    let Some((name, bytes, fault)) = find(state, rest) else {
        return Answer::error(404, "EntryNotFound");
    };
    if fault == Some(Fault::Missing) {
        return Answer::error(404, "EntryNotFound");
    }
    if name.ends_with(".safetensors") {
        let headers = vec![
            ("etag", format!("\"{}\"", git_id(b"the stand-in"))),
            ("x-linked-etag", format!("\"{}\"", sha256(bytes))),
            ("x-linked-size", bytes.len().to_string()),
            ("location", format!("{}/store/{rest}", state.store)),
        ];
        return Answer::new(302, headers, b"moved".to_vec());
    }
    let etag = vec![("etag", format!("W/\"{}\"", git_id(bytes)))];
    with_fault(Answer::new(200, etag, bytes.clone()), fault)
}

fn store(state: &State, rest: &str) -> Answer {
    match find(state, rest) {
        Some((_, bytes, fault)) => {
            let etag = vec![("etag", "\"d41d8cd9-2\"".to_owned())];
            with_fault(Answer::new(200, etag, bytes.clone()), fault)
        }
        None => Answer::error(404, ""),
    }
}

fn with_fault(mut answer: Answer, fault: Option<Fault>) -> Answer {
    match fault {
        Some(Fault::Truncated) => answer.sent /= 2,
        Some(Fault::Damaged) => answer.body[0] ^= 1,
        _ => {}
    }
    answer
}
