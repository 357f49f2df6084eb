//! Where models come from and where they are kept.

use std::{env, fmt, fs, path::PathBuf};

/// Settings of the hub client. Nothing else is read from the environment but, with the feature
/// `hub`, the usual proxy variables.
#[derive(Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// `https://huggingface.co`, or a mirror that speaks the same routes.
    pub endpoint: String,
    /// The folder that holds `models--OWNER--NAME/`.
    pub cache_dir: PathBuf,
    /// Sent as a bearer token to the endpoint, for private and gated models.
    pub token: Option<String>,
    /// Use the cache only.
    pub offline: bool,
}

impl HubOptions {
    /// The environment of the hub's other clients.
    ///
    /// * endpoint: `HF_ENDPOINT`, else `https://huggingface.co`;
    /// * cache: `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `hub` below the hub's home,
    ///   which is `HF_HOME`, else `huggingface` below `XDG_CACHE_HOME`, else
    ///   `~/.cache/huggingface`;
    /// * token: `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else the file `token` in the hub's home;
    /// * offline: `HF_HUB_OFFLINE` is `1`, `on`, `yes` or `true`.
    ///
    /// Empty variables count as absent.
    pub fn from_env() -> Self {
        Self::from_variables(|name| env::var(name).ok(), env::home_dir())
    }

    fn from_variables(get: impl Fn(&str) -> Option<String>, home: Option<PathBuf>) -> Self {
        let get = |name| get(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let path = |name| get(name).map(PathBuf::from);
        let hub_home = path("HF_HOME").unwrap_or_else(|| {
            path("XDG_CACHE_HOME")
                .unwrap_or_else(|| home.unwrap_or_default().join(".cache"))
                .join("huggingface")
        });
        let token = get("HF_TOKEN").or_else(|| {
            let file = path("HF_TOKEN_PATH").unwrap_or_else(|| hub_home.join("token"));
            let token = fs::read_to_string(file).ok()?.trim().to_owned();
            (!token.is_empty()).then_some(token)
        });
        let truthy = |value: String| {
            ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
        };
        Self {
            endpoint: get("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            cache_dir: path("HF_HUB_CACHE")
                .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| hub_home.join("hub")),
            token,
            offline: get("HF_HUB_OFFLINE").is_some_and(truthy),
        }
    }
}

/// The token is not written.
impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("cache_dir", &self.cache_dir)
            .field("token", &self.token.as_ref().map(|_| ".."))
            .field("offline", &self.offline)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn options(variables: &[(&str, &str)], home: &Path) -> HubOptions {
        let get = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        HubOptions::from_variables(get, Some(home.to_path_buf()))
    }

    #[test]
    fn the_defaults_are_the_usual_ones() {
        let home = tempfile::tempdir().unwrap();
        let plain = options(&[("HF_TOKEN", ""), ("HF_HUB_OFFLINE", "0")], home.path());
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert_eq!(plain.cache_dir, home.path().join(".cache/huggingface/hub"));
        assert_eq!((plain.token, plain.offline), (None, false));
    }

    #[test]
    fn the_cache_folder_follows_the_order_of_the_variables() {
        let home = Path::new("/h");
        let mut variables = vec![("XDG_CACHE_HOME", "/x")];
        for (next, folder) in [
            (("HF_HOME", "/y"), "/x/huggingface/hub"),
            (("HUGGINGFACE_HUB_CACHE", "/z"), "/y/hub"),
            (("HF_HUB_CACHE", "/w"), "/z"),
            (("HF_ENDPOINT", "http://mirror"), "/w"),
        ] {
            assert_eq!(options(&variables, home).cache_dir, Path::new(folder));
            variables.push(next);
        }
        assert_eq!(options(&variables, home).endpoint, "http://mirror");
    }

    #[test]
    fn the_token_is_found_and_never_shown() {
        let home = tempfile::tempdir().unwrap();
        let (one, two) = (home.path().join("token"), home.path().join("other"));
        fs::write(&one, "hf_one\n").unwrap();
        fs::write(&two, "hf_two\n").unwrap();
        let mut variables = vec![("HF_HOME", home.path().to_str().unwrap())];
        for (next, token) in [
            (("HF_TOKEN_PATH", two.to_str().unwrap()), "hf_one"),
            (("HF_TOKEN", "hf_three"), "hf_two"),
            (("HF_HUB_OFFLINE", "Yes"), "hf_three"),
        ] {
            let options = options(&variables, home.path());
            assert_eq!(options.token.as_deref(), Some(token));
            assert!(!format!("{options:?}").contains("hf_"));
            variables.push(next);
        }
        assert!(options(&variables, home.path()).offline);
    }
}
