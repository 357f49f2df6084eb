//! The hub's routes over HTTP.

use std::{io::Read, time::Duration};

use serde::Deserialize;
use ureq::{
    Agent, Body,
    http::{HeaderMap, Response, Uri, header},
};

use super::{
    download::{Failure, Fetch, Listing, Remote},
    hub_error,
    id::ModelId,
    options::HubOptions,
};

/// A mirror may send a request on a few times, to its store and to its region.
const MAX_REDIRECTS: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Silence after which a connection counts as lost.
const SILENCE: Duration = Duration::from_secs(60);

/// A client of one endpoint.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    origin: Origin,
    token: Option<String>,
}

/// Scheme and authority of an address: the token does not leave it.
#[derive(Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    authority: String,
}

impl Origin {
    fn of(address: &str) -> Option<Self> {
        let uri: Uri = address.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let authority = uri.authority()?.as_str().to_ascii_lowercase();
        ["http", "https"].contains(&scheme.as_str()).then_some(Self { scheme, authority })
    }

    fn is_loopback(&self) -> bool {
        ["localhost", "127.0.0.1", "[::1]"]
            .iter()
            .filter_map(|host| self.authority.strip_prefix(host))
            .any(|rest| rest.is_empty() || rest.starts_with(':'))
    }
}

/// The answer to the last request, and the headers of all that led to it.
struct Answer {
    trail: Vec<HeaderMap>,
    response: Response<Body>,
}

impl Answer {
    /// The first value on the way: the hub announces a file before it redirects to a store, whose
    /// own etag means something else.
    fn first(&self, name: &str) -> Option<&str> {
        let last = std::iter::once(self.response.headers());
        self.trail.iter().chain(last).find_map(|headers| headers.get(name)?.to_str().ok())
    }
}

impl Client {
    pub(super) fn new(options: &HubOptions) -> Result<Self, String> {
        let endpoint = options.endpoint.trim_end_matches('/').to_owned();
        let Some(origin) = Origin::of(&endpoint) else {
            return Err(format!(
                "the endpoint `{endpoint}` is no address; set `HF_ENDPOINT` to one that begins \
                 with `https://` or `http://`, or unset it"
            ));
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed here: their headers matter, and the token must not follow.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("chains-core/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE));
        if origin.is_loopback() {
            config = config.proxy(None);
        }
        let agent = config.build().new_agent();
        Ok(Self { agent, endpoint, origin, token: options.token.clone() })
    }

    fn get(&self, id: &ModelId, path: &str) -> Result<Answer, Failure> {
        let fatal = |reason| Failure::Fatal(hub_error(id, reason));
        let mut address = format!("{}{path}", self.endpoint);
        let mut trail = Vec::new();
        for _ in 0..=MAX_REDIRECTS {
            let Some(origin) = Origin::of(&address) else {
                return Err(fatal(format!("the endpoint redirects to `{address}`")));
            };
            if self.origin.scheme == "https" && origin.scheme != "https" {
                return Err(fatal(format!("refused to go on without encryption at `{address}`")));
            }
            let mut request = self.agent.get(&address);
            if let Some(token) = self.token.as_ref().filter(|_| origin == self.origin) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| transport(id, &address, &error))?;
            let next = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok());
            match next {
                Some(next) if response.status().is_redirection() => {
                    address = if next.starts_with('/') && !next.starts_with("//") {
                        format!("{}://{}{next}", origin.scheme, origin.authority)
                    } else {
                        next.to_owned()
                    };
                    trail.push(response.headers().clone());
                }
                _ => return self.judge(id, path, Answer { trail, response }),
            }
        }
        Err(fatal(format!("more than {MAX_REDIRECTS} redirects for `{path}`")))
    }

    fn judge(&self, id: &ModelId, path: &str, answer: Answer) -> Result<Answer, Failure> {
        let status = answer.response.status();
        if status.is_success() {
            return Ok(answer);
        }
        let (owner, name, revision) = (id.owner(), id.name(), id.revision_or_main());
        let endpoint = &self.endpoint;
        let reason = match (status.as_u16(), answer.first("x-error-code")) {
            (408 | 429 | 500..=599, _) => {
                return Err(Failure::Network(format!("`{endpoint}{path}` answers {status}")));
            }
            (_, Some("RevisionNotFound")) => format!("the model has no revision `{revision}`"),
            (_, Some("EntryNotFound")) => format!("revision `{revision}` has no `{path}`"),
            (401, _) if self.token.is_none() => {
                format!("no such model at {endpoint}, or a private one that needs `HF_TOKEN`")
            }
            (401, _) => format!("{endpoint} does not accept the token; renew `HF_TOKEN`"),
            (403, _) => format!(
                "access refused; accept the model's terms at {endpoint}/{owner}/{name}, and use a \
                 token that may read it"
            ),
            (404, _) => format!("no such model at {endpoint}"),
            _ => format!("`{endpoint}{path}` answers {status}"),
        };
        Err(Failure::Fatal(hub_error(id, reason)))
    }
}

impl Fetch for Client {
    fn list(&self, id: &ModelId, revision: &str) -> Result<Listing, Failure> {
        #[derive(Deserialize)]
        struct Model {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        // A revision such as `refs/pr/1` is one component of the route.
        let revision = revision.replace('/', "%2F").replace('+', "%2B");
        let path = format!("/api/models/{}/{}/revision/{revision}", id.owner(), id.name());
        let mut answer = self.get(id, &path)?;
        let body = answer
            .response
            .body_mut()
            .read_to_vec()
            .map_err(|error| transport(id, &path, &error))?;
        let model: Model = serde_json::from_slice(&body).map_err(|error| {
            let endpoint = &self.endpoint;
            Failure::Fatal(hub_error(
                id,
                format!("`{endpoint}{path}` does not speak the hub's language: {error}"),
            ))
        })?;
        let files = model.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        Ok(Listing { commit: model.sha, files })
    }

    fn open(&self, id: &ModelId, commit: &str, file: &str) -> Result<Remote, Failure> {
        let path = format!("/{}/{}/resolve/{commit}/{file}", id.owner(), id.name());
        let answer = self.get(id, &path)?;
        // The linked values are those of a large file itself, the others those of its stand-in.
        let etag = answer.first("x-linked-etag").or_else(|| answer.first("etag"));
        let etag = etag.unwrap_or_default().trim_start_matches("W/").trim_matches('"').to_owned();
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let length = answer.response.headers().get(header::CONTENT_LENGTH);
        let size = answer
            .first("x-linked-size")
            .and_then(number)
            .or_else(|| number(length?.to_str().ok()?));
        let body: Box<dyn Read> = Box::new(answer.response.into_body().into_reader());
        Ok(Remote { etag, size, body })
    }
}

/// Was it the network, or us?
fn transport(id: &ModelId, address: &str, error: &ureq::Error) -> Failure {
    let reason = format!("`{address}` cannot be reached: {error}");
    match error {
        ureq::Error::Http(_)
        | ureq::Error::BadUri(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::RequireHttpsOnly(_)
        | ureq::Error::BodyExceedsLimit(_) => Failure::Fatal(hub_error(id, reason)),
        _ => Failure::Network(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_host_and_port_is_the_same_origin() {
        let origin = |text| Origin::of(text);
        assert!(origin("https://Hub.co/a") == origin("https://hub.co/b?c"));
        for other in ["http://hub.co", "https://hub.co:444", "https://cdn.hub.co", "https://x.co"] {
            assert!(origin("https://hub.co") != origin(other), "{other}");
        }
        for none in ["hub.co", "ftp://hub.co", "file:///etc", "", "http://"] {
            assert!(origin(none).is_none(), "{none}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (address, expected) in [
            ("http://127.0.0.1:80", true),
            ("http://localhost", true),
            ("http://[::1]:8", true),
            ("http://localhost.example.org", false),
            ("http://127.0.0.10", false),
        ] {
            assert_eq!(Origin::of(address).unwrap().is_loopback(), expected, "{address}");
        }
    }
}
