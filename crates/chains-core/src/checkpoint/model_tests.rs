use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Net {
    hidden: Vec<usize>,
    slope: f64,
}

fn net(slope: f64) -> Net {
    Net { hidden: vec![3, 4], slope }
}

fn tensors(value: f32) -> Vec<(String, Tensor)> {
    vec![("w".to_owned(), Tensor::new(&[value, -value], &Device::Cpu).unwrap())]
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn write_config(json: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(CONFIG_FILE), json).unwrap();
    folder
}

fn refusal(json: &str) -> String {
    let folder = write_config(json);
    let error = read_config::<Net>(folder.path(), "infusion").unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(CONFIG_FILE), "{message}");
    message
}

#[test]
fn a_model_comes_back_and_can_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("a/b");
    for (slope, value) in [(0.1, 1.0), (0.1, 2.0), (0.2, 3.0)] {
        save_model(&dir, "infusion", "0.1.0", &net(slope), &tensors(value)).unwrap();
        let (config, found) = load_model::<Net>(&dir, "infusion", &Device::Cpu).unwrap();
        assert_eq!(config, net(slope));
        assert_eq!(found["w"].to_vec1::<f32>().unwrap(), [value, -value]);
        assert_eq!(names(&dir), [CONFIG_FILE, WEIGHTS_FILE]);
    }
    let header = read_header(&dir).unwrap();
    assert_eq!((header.format_version, header.method.as_str()), (FORMAT_VERSION, "infusion"));
    assert_eq!(header.crate_version, "0.1.0");
    assert_eq!(header.network["hidden"][1], 4);
}

#[test]
fn a_save_that_fails_leaves_the_old_model_whole() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    save_model(dir, "infusion", "0.1.0", &net(0.1), &tensors(1.0)).unwrap();
    let twice = [tensors(2.0), tensors(3.0)].concat();
    save_model(dir, "infusion", "0.1.0", &net(0.2), &twice).unwrap_err();
    let (config, found) = load_model::<Net>(dir, "infusion", &Device::Cpu).unwrap();
    assert_eq!(config, net(0.1));
    assert_eq!(found["w"].to_vec1::<f32>().unwrap(), [1.0, -1.0]);
    assert_eq!(names(dir), [CONFIG_FILE, WEIGHTS_FILE]);
}

#[test]
fn a_changed_config_never_stands_beside_new_weights() {
    // A folder in the place of the weights makes the save fail between its two renames.
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    save_model(dir, "infusion", "0.1.0", &net(0.1), &tensors(1.0)).unwrap();
    fs::remove_file(dir.join(WEIGHTS_FILE)).unwrap();
    fs::create_dir_all(dir.join(WEIGHTS_FILE).join("x")).unwrap();
    save_model(dir, "infusion", "0.1.0", &net(0.2), &tensors(1.0)).unwrap_err();
    let message = read_header(dir).unwrap_err().to_string();
    assert!(message.contains("not saved whole"), "{message}");
}

#[test]
fn what_is_no_model_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for dir in [folder.path(), &folder.path().join("none")] {
        let message = read_header(dir).unwrap_err().to_string();
        assert!(message.contains("no `config.json`"), "{message}");
    }
    assert!(refusal("{").contains("not JSON: EOF"));
    assert!(refusal("[]").contains("field `format_version`: missing"));
    assert!(refusal(r#"{"model_type": "bert"}"#).contains("field `format_version`: missing"));
}

#[test]
fn errors_of_the_header_name_the_field() {
    let newer = refusal(r#"{"format_version": 2, "colour": "blue"}"#);
    assert!(newer.contains("field `format_version`: version 2 is newer than 1"), "{newer}");
    let zero = refusal(r#"{"format_version": 0}"#);
    assert!(zero.contains("field `format_version`: expected 1, got 0"), "{zero}");
    let method = refusal(
        r#"{"format_version": 1, "method": "vera", "crate_version": "0", "network": null}"#,
    );
    assert!(method.contains("model of `vera`; `infusion` cannot load it"), "{method}");
    let typed = refusal(r#"{"format_version": 1, "method": 3}"#);
    assert!(typed.contains("field `method`: invalid type"), "{typed}");
    let unknown = refusal(r#"{"format_version": 1, "methods": "vera"}"#);
    assert!(unknown.contains("unknown field `methods`"), "{unknown}");
}

#[test]
fn errors_of_the_network_name_the_field() {
    let with = |network: &str| {
        refusal(&format!(
            r#"{{"format_version":1,"method":"infusion","crate_version":"0","network":{network}}}"#
        ))
    };
    let typed = with(r#"{"hidden": [3, "four"], "slope": 0.1}"#);
    assert!(typed.contains("field `network.hidden[1]`: invalid type"), "{typed}");
    let unknown = with(r#"{"hidden": [], "slope": 0.1, "depth": 2}"#);
    assert!(unknown.contains("network") && unknown.contains("unknown field `depth`"), "{unknown}");
    let missing = with(r#"{"hidden": []}"#);
    assert!(missing.contains("field `network`: missing field `slope`"), "{missing}");
}
