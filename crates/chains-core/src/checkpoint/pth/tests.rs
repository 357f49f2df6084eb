//! Files that PyTorch wrote, and bytes that nobody should have.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{Error, testing::values};

/// One dictionary in both layouts, by `tests/fixtures/state.py`.
const FILES: [(&str, &[u8]); 2] = [
    ("archive", include_bytes!("../../../tests/fixtures/archive.pth")),
    ("stream", include_bytes!("../../../tests/fixtures/stream.pth")),
];

/// Opens these bytes and reads every tensor.
fn read(bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.pth");
    fs::write(&path, bytes).unwrap();
    let file = PthFile::open(&path)?;
    let names: Vec<String> = file.shapes().map(|(name, _)| name.to_owned()).collect();
    names
        .into_iter()
        .map(|name| {
            let tensor = file.read(&name, &Device::Cpu)?;
            Ok((name, tensor.unwrap()))
        })
        .collect()
}

#[track_caller]
fn refused(bytes: &[u8], words: &str) {
    let error = read(bytes).unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("state.pth") && text.contains(words), "`{words}` is not in: {text}");
}

#[test]
fn both_layouts_give_every_tensor_in_its_own_order() -> Result<()> {
    for (layout, bytes) in FILES {
        let found: BTreeMap<String, Tensor> = read(bytes)?.into_iter().collect();
        let expected: [(&str, DType, &[usize], &[f64]); 12] = [
            ("plain", DType::F32, &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            ("turned", DType::F32, &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
            ("steps", DType::F32, &[2, 2, 2], &[4.0, 6.0, 8.0, 10.0, 16.0, 18.0, 20.0, 22.0]),
            ("whole", DType::F64, &[10], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]),
            ("part", DType::F64, &[3], &[2.0, 3.0, 4.0]),
            ("parameter", DType::F32, &[2], &[1.5, -2.5]),
            ("half", DType::F16, &[2], &[0.5, -1.0]),
            ("brain", DType::BF16, &[2], &[3.0, -4.0]),
            ("counter", DType::I64, &[], &[7.0]),
            ("small", DType::I32, &[2], &[1.0, -2.0]),
            ("bytes", DType::U8, &[2], &[0.0, 255.0]),
            ("none", DType::F32, &[0], &[]),
        ];
        assert_eq!(found.len(), expected.len(), "{layout}");
        for (name, dtype, shape, numbers) in expected {
            let tensor = &found[name];
            assert_eq!((tensor.dtype(), tensor.dims()), (dtype, shape), "{layout} {name}");
            assert_eq!(values(tensor), numbers, "{layout} {name}");
        }
    }
    Ok(())
}

/// A training's state in both layouts, by `tests/fixtures/nested_state.py`.
const NESTED: [(&str, &[u8]); 2] = [
    ("archive", include_bytes!("../../../tests/fixtures/nested_archive.pth")),
    ("stream", include_bytes!("../../../tests/fixtures/nested_stream.pth")),
];

#[test]
fn the_state_of_a_training_gives_the_tensors_of_all_its_dictionaries() -> Result<()> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.pth");
    for (layout, bytes) in NESTED {
        // Counters, lists of numbers and objects of unknown classes are no state dictionary.
        refused(bytes, "");
        fs::write(&path, bytes).unwrap();
        let file = PthFile::open_nested(&path)?;
        let names: Vec<_> = file.shapes().map(|(name, _)| name).collect();
        let want = [
            "history.1",
            "model.g.g.last.bias",
            "model.g.logsigma",
            "model.logp_net.logp_net.linear.weight",
            "optimizer.state.0.exp_avg",
            "optimizer.state.1.exp_avg",
        ];
        assert_eq!(names, want, "{layout}");
        let read = |name: &str| Ok::<_, Error>(values(&file.read(name, &Device::Cpu)?.unwrap()));
        assert_eq!(read("model.logp_net.logp_net.linear.weight")?, [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(read("model.g.logsigma")?, [-4.5]);
        assert_eq!(read("optimizer.state.1.exp_avg")?, [0.25, 0.5]);
        assert_eq!(read("history.1")?, [7.0]);
    }
    // A flat dictionary is one of one level.
    for (_, bytes) in FILES {
        fs::write(&path, bytes).unwrap();
        let names =
            |file: &PthFile| file.shapes().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        let [flat, nested] = [PthFile::open(&path)?, PthFile::open_nested(&path)?];
        assert_eq!(names(&flat), names(&nested));
    }
    Ok(())
}

#[test]
fn dictionaries_that_hold_themselves_are_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.pth");
    // d = {}; d["d"] = d, noted as 0.
    let object = b"\x80\x02}q\x00X\x01\x00\x00\x00dh\x00s.";
    fs::write(&path, stream(object, b"\x80\x02].")).unwrap();
    let text = PthFile::open_nested(&path).unwrap_err().to_string();
    assert!(text.contains("too deep"), "{text}");
    // A text of 4,000 bytes, noted as 1, that is the key of 100,000 tensors: 400 MB of names.
    let key: [&[u8]; 3] = [b"\x80\x02X\xa0\x0f\x00\x00", &[b'k'; 4000], b"q\x01"];
    let object: [&[u8]; 4] = [&key.concat(), b"}(", &b"h\x01K\x01".repeat(100_000), b"u."];
    fs::write(&path, stream(&object.concat(), b"\x80\x02].")).unwrap();
    let text = PthFile::open_nested(&path).unwrap_err().to_string();
    assert!(text.contains("too many"), "{text}");
}

#[test]
fn a_name_that_is_not_there_gives_nothing() -> Result<()> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.pth");
    assert!(matches!(PthFile::open(&path), Err(Error::Io { .. })));
    assert!(PthFile::open(dir.path()).unwrap_err().to_string().contains("not a file"));
    fs::write(&path, FILES[0].1).unwrap();
    assert!(PthFile::open(&path)?.read("absent", &Device::Cpu)?.is_none());
    Ok(())
}

/// A stream with this pickle as its object and this one as its keys.
fn stream(object: &[u8], keys: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let system = b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.";
    [&magic[..], b"\x80\x02M\xe9\x03.", system, object, keys].concat()
}

/// A pickle of `{"x": tensor}` with this storage length, offset, sizes and strides, one byte each.
fn tensor([len, offset]: [u8; 2], sizes: &[u8], strides: &[u8]) -> Vec<u8> {
    let tuple = |items: &[u8]| {
        let items = items.iter().flat_map(|n| [b'K', *n]);
        [b'('].into_iter().chain(items).chain([b't']).collect::<Vec<u8>>()
    };
    let parts: [&[u8]; 9] = [
        b"\x80\x02}X\x01\x00\x00\x00xctorch._utils\n_rebuild_tensor_v2\n(",
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu",
        &[b'K', len, b't', b'Q'],
        &[b'K', offset],
        &tuple(sizes),
        &tuple(strides),
        b"\x89}",
        b"tR",
        b"s.",
    ];
    parts.concat()
}

const KEY: &[u8] = b"\x80\x02]X\x01\x00\x00\x000a.";

#[test]
fn tensors_beyond_their_storage_are_refused() {
    let file = |len: u8, offset, sizes: &[u8], strides: &[u8]| {
        let data: Vec<u8> = (0..len).flat_map(|i| f32::from(i).to_le_bytes()).collect();
        let count = u64::from(len).to_le_bytes();
        [stream(&tensor([len, offset], sizes, strides), KEY), count.to_vec(), data].concat()
    };
    let good = read(&file(6, 1, &[2, 2], &[3, 1])).unwrap();
    assert_eq!(values(&good[0].1), [1.0, 2.0, 4.0, 5.0]);
    refused(&file(6, 3, &[2, 2], &[3, 1]), "tensor `x`: shape [2, 2] from 3");
    refused(&file(6, 0, &[2, 2], &[3]), "2 sides and 1 strides");
    // Values repeated by a stride of zero: as many as the numbers can say from one.
    refused(&file(1, 0, &[255, 255, 255], &[0, 0, 0]), "in a storage of 1 values");
    let short = file(6, 1, &[2, 2], &[3, 1]);
    refused(&short[..short.len() - 1], "end beyond the file");
    refused(&short[..short.len() - 25], "the file ends here");
}

#[test]
fn pickles_that_are_no_state_dictionary_are_refused() {
    let object = |object: &[u8], words: &str| refused(&stream(object, b"\x80\x02]."), words);
    object(b"(.", "a mark where a value is expected");
    object(b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "a call of `os.system`");
    object(b"X\x02\x00\x00\x00ls.", "a text where a dictionary is expected");
    object(b"}K\x01K\x02s.", "a name that is no text");
    object(b"}X\x01\x00\x00\x00xK\x02s.", "`x` is no tensor");
    object(b"K\x01K\x02s.", "the stack is empty");
    object(b"}(K\x01u.", "a key without a value");
    object(b"h\x07.", "nothing was noted as 7");
    object(b"t.", "no mark on the stack");
    object(b"\x87.", "too little on the stack");
    object(b"P0\n.", "step 0x50");
    object(b"X\xff\xff\xff\xffabc", "4294967295 bytes are promised");
    object(&[b"c".as_slice(), &[b'a'; 5000]].concat(), "a name of more than 1000 bytes");
    object(
        b"(X\x07\x00\x00\x00storagectorch\nBigStorage\nX\x01\x00\x00\x000NK\x01tQ.",
        "`torch.BigStorage`",
    );
    object(b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "not as a tensor needs it");
    object(b"ctorch._utils\n_rebuild_parameter\n)R.", "not as a tensor needs it");
    object(b"ccollections\nOrderedDict\n(](K\x01lal\x85R.", "");
    refused(b"", "neither an archive nor a stream");
    refused(b"PK\x03\x04 and nothing else", "");
    refused(&[0xff; 300], "neither an archive nor a stream");
}

#[test]
fn nests_and_numbers_without_end_are_no_danger() {
    // A million tuples inside each other, and a dictionary that holds itself.
    let nest = [vec![b')'], vec![0x85; 1_000_000], vec![b'.']].concat();
    refused(&stream(&nest, b""), "a list where a dictionary is expected");
    refused(&stream(b"}q\x00X\x01\x00\x00\x00xh\x00s.", b""), "`x` is no tensor");
    // Twice the last, again and again: thirty of these would be a gigabyte of copies.
    let double = [b"K\x01".to_vec(), b"q\x00h\x00h\x00\x87".repeat(200), vec![b'.']].concat();
    refused(&stream(&double, b""), "");
    // A list of ten thousand references, of which five bytes ask for another dictionary.
    let list: [&[u8]; 3] = [b"(", b"K\x01K\x01\x86q\x00", &b"h\x00".repeat(9_999)];
    let function = b"ccollections\nOrderedDict\nq\x01";
    let calls: [&[u8]; 5] =
        [function, &list.concat(), b"l\x85q\x02", &b"h\x01h\x02R".repeat(1000), b"}."];
    refused(&stream(&calls.concat(), b""), "again and again");
    refused(&stream(&tensor([1, 0], &[1; 20], &[1; 20]), b""), "20 axes");
    let long = [vec![0x8a, 255], vec![1; 255], vec![b'.']].concat();
    refused(&stream(&long, b""), "a constant where a dictionary is expected");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_are_errors_or_tensors_and_never_a_panic(
        which in 0..2_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = FILES[which].1.to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = read(&bytes);
    }
}
