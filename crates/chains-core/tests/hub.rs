//! The hub client against a server on this machine that speaks the hub's routes.
#![cfg(test)]
#![cfg(feature = "hub")]

mod hub_server;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use chains_core::{
    Error, Result,
    hub::{HubOptions, resolve_model},
};
use hub_server::{
    Fault, git_id,
    place::{ONE, Place, WEIGHTS, model, weight},
    sha256,
};

const TWO: &str = "2222222222222222222222222222222222222222";

#[track_caller]
fn assert_says(result: Result<PathBuf>, parts: &[&str]) {
    let error = result.unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::Hub { .. }), "{message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn a_first_download_fills_the_layout_of_the_shared_cache() {
    let place = Place::new();
    let dir = place.get("owner/name").unwrap();
    assert_eq!(dir, place.repo().join("snapshots").join(ONE));
    assert_eq!(weight(&dir).to_bits(), 1.0_f32.to_bits());
    let files = model(1.0);
    let mut expected = vec![
        format!("blobs/{}", git_id(&files[0].1)),
        format!("blobs/{}", sha256(&files[1].1)),
        format!("blobs/{}", git_id(&files[2].1)),
        "refs/main".to_owned(),
    ];
    expected.extend(
        ["README.md", "config.json", WEIGHTS].map(|name| format!("snapshots/{ONE}/{name}")),
    );
    expected.sort();
    assert_eq!(place.cached(), expected);
    assert_eq!(fs::read_to_string(place.repo().join("refs/main")).unwrap(), ONE);
    #[cfg(unix)]
    {
        let link = fs::read_link(dir.join(WEIGHTS)).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(sha256(&files[1].1)));
    }
}

#[test]
fn a_second_use_asks_for_the_revision_and_for_no_file() {
    let place = Place::new();
    let dir = place.get("owner/name").unwrap();
    assert!(place.server.take_log().len() > 3);
    assert_eq!(place.get("owner/name").unwrap(), dir);
    assert_eq!(place.server.take_log(), ["GET /api/models/owner/name/revision/main"]);
}

#[test]
fn a_pinned_commit_is_asked_for_once() {
    let place = Place::new();
    place.server.push("main", TWO, &model(2.0));
    let arg = format!("owner/name@{ONE}");
    let dir = place.get(&arg).unwrap();
    assert_eq!(weight(&dir).to_bits(), 1.0_f32.to_bits());
    assert!(!place.repo().join("refs").exists());
    place.server.take_log();
    assert_eq!(place.get(&arg).unwrap(), dir);
    assert!(place.server.take_log().is_empty());
}

#[test]
fn a_revision_with_slashes_is_found_online_and_in_the_cache() {
    let place = Place::new();
    place.server.push("refs/pr/1", TWO, &model(2.0));
    let dir = place.get("owner/name@refs/pr/1").unwrap();
    assert_eq!(weight(&dir).to_bits(), 2.0_f32.to_bits());
    assert_eq!(place.server.take_log()[0], "GET /api/models/owner/name/revision/refs%2Fpr%2F1");
    assert_eq!(place.offline("owner/name@refs/pr/1").unwrap(), dir);
}

#[test]
fn a_branch_that_moves_is_followed_and_the_old_commit_stays() {
    let place = Place::new();
    let old = place.get("owner/name").unwrap();
    place.server.push("main", TWO, &model(2.0));
    let new = place.get("owner/name").unwrap();
    assert_eq!(
        (weight(&old).to_bits(), weight(&new).to_bits()),
        (1_f32.to_bits(), 2_f32.to_bits())
    );
    assert_eq!(place.offline("owner/name").unwrap(), new);
    assert_eq!(place.offline(&format!("owner/name@{ONE}")).unwrap(), old);
    // Config and model card are the same: one blob each.
    assert_eq!(place.cached().iter().filter(|name| name.starts_with("blobs/")).count(), 4);
}

#[test]
fn offline_a_warm_cache_is_used_and_a_cold_one_is_described() {
    let place = Place::new();
    assert_says(place.offline("owner/name"), &["offline", "`config.json`, `model.safetensors`"]);
    let dir = place.get("owner/name").unwrap();
    place.server.take_log();
    assert_eq!(place.offline("owner/name").unwrap(), dir);
    fs::remove_file(dir.join(WEIGHTS)).unwrap();
    assert_says(place.offline("owner/name"), &["lacks `model.safetensors` of revision `main`"]);
    assert_says(place.offline("owner/name@other"), &["revision `other`"]);
    assert!(place.server.take_log().is_empty());
    // The snapshot is completed from the blobs when there is a connection again.
    assert_eq!(weight(&place.get("owner/name").unwrap()).to_bits(), 1.0_f32.to_bits());
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let place = Place::new();
    assert_says(place.get("owner/name@v9"), &["owner/name@v9", "no revision `v9`"]);
    assert_says(place.get("owner/other"), &["no such model", "nor is there a directory"]);
    let partial = model(2.0).into_iter().filter(|(name, _)| *name != WEIGHTS).collect::<Vec<_>>();
    place.server.push("partial", TWO, &partial);
    assert_says(place.get("owner/name@partial"), &["not a model directory", WEIGHTS]);
    place.server.state().fault = Some((WEIGHTS, Fault::Missing));
    assert_says(place.get("owner/name"), &["revision `main` has no", WEIGHTS]);
    assert!(place.offline("owner/name").is_err());
}

#[test]
fn a_truncated_body_is_not_kept_and_is_fetched_again() {
    for name in ["config.json", WEIGHTS] {
        let place = Place::new();
        place.server.state().fault = Some((name, Fault::Truncated));
        assert_says(place.get("owner/name"), &[name, "broke off", "check the connection"]);
        let cached = place.cached();
        assert!(!cached.iter().any(|file| file.ends_with(name)), "{cached:?}");
        assert!(!cached.iter().any(|file| file.contains(".tmp") || file.contains("refs")));
        place.server.state().fault = None;
        assert_eq!(weight(&place.get("owner/name").unwrap()).to_bits(), 1.0_f32.to_bits());
    }
}

#[test]
fn a_wrong_digest_is_refused_and_nothing_is_kept() {
    for (name, index) in [("config.json", 0), (WEIGHTS, 1)] {
        let place = Place::new();
        // Even if an older commit is cached: a damaged file is not a matter of the connection.
        place.server.push("main", TWO, &model(2.0));
        place.get("owner/name").unwrap();
        let mut files = model(1.0);
        files[0].1.push(b'\n');
        let bytes = files[index].1.clone();
        place.server.push("main", ONE, &files);
        place.server.state().fault = Some((name, Fault::Damaged));
        assert_says(place.get("owner/name"), &[name, "is damaged", "nothing was kept"]);
        let digest = if index == 0 { git_id(&bytes) } else { sha256(&bytes) };
        let cached = place.cached();
        assert!(!cached.contains(&format!("blobs/{digest}")), "{cached:?}");
        assert!(!cached.contains(&format!("snapshots/{ONE}/{name}")), "{cached:?}");
        assert!(!cached.iter().any(|file| file.contains(".tmp")), "{cached:?}");
        assert_eq!(fs::read_to_string(place.repo().join("refs/main")).unwrap(), TWO);
    }
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_the_store() {
    let place = Place::new();
    let options = HubOptions { token: Some("hf_secret".to_owned()), ..place.options() };
    resolve_model("owner/name", &options).unwrap();
    let state = place.server.state();
    let (store, hub): (Vec<_>, Vec<_>) =
        state.log.iter().partition(|(line, _)| line.starts_with("GET /store/"));
    assert_eq!((store.len(), store[0].1.as_deref()), (1, None));
    assert!(hub.len() >= 4);
    assert!(hub.iter().all(|(_, token)| token.as_deref() == Some("Bearer hf_secret")));
}

#[test]
fn without_an_answer_the_cache_is_used_if_it_is_warm() {
    // A port that was free a moment ago.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let place = Place::new();
    let options = HubOptions { endpoint: format!("http://{closed}/"), ..place.options() };
    let endpoint = format!("http://{closed}");
    assert_says(
        resolve_model("owner/name", &options),
        &["cannot be reached", &endpoint, "`model.safetensors` of revision `main`"],
    );
    let dir = place.get("owner/name").unwrap();
    assert_eq!(resolve_model("owner/name", &options).unwrap(), dir);

    place.server.state().down = true;
    assert_eq!(place.get("owner/name").unwrap(), dir);
    assert_says(place.get("owner/name@other"), &["503", "revision `other`"]);
    place.server.state().down = false;

    // A new commit that does not come to the end: the old one is still whole.
    place.server.push("main", TWO, &model(2.0));
    place.server.state().fault = Some((WEIGHTS, Fault::Truncated));
    assert_eq!(place.get("owner/name").unwrap(), dir);
    assert_eq!(place.offline("owner/name").unwrap(), dir);
}

#[test]
fn an_endpoint_that_is_no_hub_is_an_error() {
    let place = Place::new();
    for (listing, part) in [
        ("<html>", "does not speak the hub's language"),
        (r#"{"sha": 3}"#, "does not speak the hub's language"),
        (r#"{"sha": "../../x", "siblings": []}"#, "calls `main` the commit"),
    ] {
        place.server.state().listing = Some(listing.to_owned());
        assert_says(place.get("owner/name"), &[part]);
    }
    for endpoint in ["", "hub.example", "file:///tmp"] {
        let options = HubOptions { endpoint: endpoint.to_owned(), ..place.options() };
        assert_says(resolve_model("owner/name", &options), &["is no address", "`HF_ENDPOINT`"]);
    }
    assert_eq!(place.cached(), Vec::<String>::new());
}

#[test]
fn many_may_fetch_at_once() {
    let place = Place::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(|| place.get("owner/name"))).collect();
        for worker in workers {
            let dir = worker.join().unwrap().unwrap();
            assert_eq!(weight(&dir).to_bits(), 1.0_f32.to_bits());
        }
    });
    assert_eq!(place.cached().len(), 7, "{:?}", place.cached());
}
