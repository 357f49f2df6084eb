use std::fs;

use proptest::prelude::*;

use super::*;

fn named(entries: Vec<(&str, Tensor)>) -> Vec<(String, Tensor)> {
    entries.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
}

fn example() -> Vec<(String, Tensor)> {
    let device = &Device::Cpu;
    let matrix = Tensor::new(&[[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]], device).unwrap();
    named(vec![
        ("z.bytes", Tensor::new(&[7_u8, 8, 9], device).unwrap()),
        ("b.weight", matrix.t().unwrap()),
        ("a.weight", matrix),
        ("counts", Tensor::new(&[-1_i64, i64::MAX], device).unwrap()),
        ("half", Tensor::new(&[0.5_f32], device).unwrap().to_dtype(DType::BF16).unwrap()),
        ("scalar", Tensor::new(2.5_f64, device).unwrap()),
        ("empty", Tensor::zeros((0, 4), DType::F32, device).unwrap()),
    ])
}

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn load_bytes(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign.safetensors");
    fs::write(&path, bytes).unwrap();
    load_tensors(&path, &Device::Cpu)
}

#[test]
fn every_type_comes_back_with_its_shape_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    save_tensors(&path, &example(), None).unwrap();
    let back = load_tensors(&path, &Device::Cpu).unwrap();
    assert_eq!(back.len(), example().len());
    for (name, tensor) in example() {
        let got = &back[&name];
        assert_eq!((got.dtype(), got.dims()), (tensor.dtype(), tensor.dims()), "{name}");
        let values = |t: &Tensor| {
            t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
        };
        assert_eq!(values(got), values(&tensor), "{name}");
    }
    let transposed = back["b.weight"].to_vec2::<f32>().unwrap();
    assert_eq!(transposed, [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]);
}

#[test]
fn the_reference_library_reads_our_file_and_agrees_with_its_own_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let notes = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".into(), "1".into())]);
    save_tensors(&path, &example(), Some(notes.clone())).unwrap();
    let bytes = fs::read(&path).unwrap();
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header % 8, 0);
    assert_eq!(metadata.metadata().as_ref().unwrap()["a"], "1");
    assert_eq!(load_metadata(&path).unwrap(), notes);

    let reference = safetensors::serialize(example(), None).unwrap();
    let (reference_header, _) = safetensors::SafeTensors::read_metadata(&reference).unwrap();
    assert_eq!(bytes[8 + header..], reference[8 + reference_header..]);
}

#[test]
fn the_bytes_do_not_depend_on_the_order_given() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("1"), folder.path().join("2"));
    let notes: BTreeMap<_, _> = (0..20).map(|n| (format!("key{n}"), n.to_string())).collect();
    save_tensors(&one, &example(), Some(notes.clone())).unwrap();
    let mut reversed = example();
    reversed.reverse();
    save_tensors(&two, &reversed, Some(notes)).unwrap();
    assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());
}

#[test]
fn names_given_twice_or_reserved_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let one = Tensor::new(1.0_f32, &Device::Cpu).unwrap();
    for names in [["a", "a"], ["a", METADATA_KEY]] {
        let tensors = named(names.map(|name| (name, one.clone())).into());
        let error = save_tensors(&path, &tensors, None).unwrap_err();
        assert!(error.to_string().contains(names[1]), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn assert_refused(bytes: &[u8], reason: &str) {
    let error = load_bytes(bytes).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::Checkpoint { .. }), "{message}");
    assert!(message.contains("foreign.safetensors") && message.contains(reason), "{message}");
}

#[test]
fn files_with_a_broken_frame_are_refused_by_name_and_byte() {
    assert_refused(&[], "0 bytes");
    assert_refused(&[1, 2, 3], "3 bytes");
    assert_refused(&u64::MAX.to_le_bytes(), "promise a header of");
    assert_refused(&file("{}", &[])[..9], "promise a header of 2 bytes");
    assert_refused(&file("not json", &[]), "header at byte 8");
    assert_refused(&file("\u{1f}{}", &[]), "header at byte 8");
    assert_refused(&file("{}", &[0]), "promises 0 bytes of data from byte 10, but 1 follow");
    let folder = tempfile::tempdir().unwrap();
    assert!(load_tensors(folder.path(), &Device::Cpu).is_err());
    assert!(load_tensors(&folder.path().join("none"), &Device::Cpu).is_err());
}

#[test]
fn tensors_that_contradict_their_header_are_refused() {
    let (huge, long) = (usize::MAX, 1_usize << 60);
    // Type, shape, offsets, bytes that follow, part of the message.
    for (dtype, shape, offsets, length, reason) in [
        ("F32", "2".to_owned(), "0,8".to_owned(), 7, "but 7 follow"),
        ("F32", "2".into(), "0,4".into(), 4, "byte 8"),
        ("F32", "2".into(), "8,0".into(), 0, "byte 8"),
        ("F32", "-2".into(), "0,8".into(), 8, "byte 8"),
        ("NEW", "2".into(), "0,8".into(), 8, "byte 8"),
        ("U64", "1".into(), "0,8".into(), 8, "U64"),
        ("F4", "2".into(), "0,1".into(), 1, "F4"),
        ("F32", format!("0,{huge},{huge}"), "0,0".into(), 0, "too large"),
        ("U8", format!("{long}"), format!("0,{long}"), 0, "but 0 follow"),
    ] {
        let header = format!(
            r#"{{"a":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{offsets}]}}}}"#
        );
        assert_refused(&file(&header, &vec![0; length]), reason);
    }
}

#[test]
fn one_error_lists_everything_that_does_not_fit() {
    let path = Path::new("m/model.safetensors");
    let shape =
        |n, d: usize| -> Tensor { Tensor::zeros((n, d), DType::F32, &Device::Cpu).unwrap() };
    let found: BTreeMap<_, _> =
        named(vec![("ok", shape(1, 2)), ("turned", shape(3, 4)), ("more", shape(5, 6))])
            .into_iter()
            .collect();
    let mut expected = vec![
        ("ok".to_owned(), vec![1, 2]),
        ("turned".into(), vec![4, 3]),
        ("gone".into(), vec![7]),
    ];
    let message = check_names(path, &expected, &found).unwrap_err().to_string();
    for part in [
        "m/model.safetensors",
        "3 tensor(s)",
        "missing `gone` [7]",
        "extra `more` [5, 6]",
        "misshapen `turned`: expected [4, 3], got [3, 4]",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("`ok`"));
    expected =
        vec![("ok".into(), vec![1, 2]), ("turned".into(), vec![3, 4]), ("more".into(), vec![5, 6])];
    check_names(path, &expected, &found).unwrap();
}

proptest! {
    #[test]
    fn a_file_with_foreign_bytes_never_panics(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        save_tensors(&path, &example(), None).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let length = bytes.len();
        bytes[at % length] = byte;
        let _ = load_bytes(&bytes);
        bytes.truncate(cut % length);
        prop_assert!(load_bytes(&bytes).is_err());
    }
}
