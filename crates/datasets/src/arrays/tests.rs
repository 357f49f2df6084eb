//! Hostile bytes: every error names the file, the byte and the field, and nothing panics.

use std::{
    io::{Cursor, Write},
    path::Path,
};

use flate2::{Compression, Crc, write::DeflateEncoder};
use proptest::prelude::*;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::*;

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

/// Four numbers as (2, 2).
fn small() -> Vec<u8> {
    npy("'<f4'", "(2, 2)", &[0; 16])
}

fn open(name: &str, bytes: &[u8]) -> Result<ArrayFile> {
    ArrayFile::from_bytes(Path::new(name), bytes.to_vec())
}

/// Reads every array of a file.
fn read_all(name: &str, bytes: &[u8]) -> Result<Vec<Array>> {
    let file = open(name, bytes)?;
    FeatureStatistics::find(&file)?;
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    names.iter().map(|name| file.read(name)).collect()
}

#[track_caller]
fn fails(name: &str, bytes: &[u8], part: &str) {
    let error = read_all(name, bytes).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(part), "`{part}` is not in: {error}");
}

fn stored_zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::STORE);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An archive of one deflated member, written by hand: what its entry says may be a lie.
fn deflated_zip(packed: &[u8], size: u32, crc: u32) -> Vec<u8> {
    let name = b"x.npy";
    let mut entry = Vec::new();
    entry.extend(20_u16.to_le_bytes());
    entry.extend([0, 0, 8, 0, 0, 0, 0x21, 0]);
    [crc, packed.len() as u32, size].iter().for_each(|word| entry.extend(word.to_le_bytes()));
    entry.extend((name.len() as u16).to_le_bytes());
    entry.extend([0, 0]);
    let local = [b"PK\x03\x04", &entry[..], name, packed].concat();
    let central = [b"PK\x01\x02", &20_u16.to_le_bytes()[..], &entry, &[0; 14], name].concat();
    let mut end = b"PK\x05\x06\0\0\0\0\x01\0\x01\0".to_vec();
    [central.len(), local.len()].iter().for_each(|&n| end.extend((n as u32).to_le_bytes()));
    end.extend([0, 0]);
    [local, central, end].concat()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn every_field_of_an_npy_header_is_checked() {
    assert!(read_all("x.npy", &small()).is_ok());
    fails("x.npy", b"PK\x03\x04 and more", "x.npy: byte 0: does not begin with");
    fails("x.npy", b"\x93NUMPY\x04\x00", "byte 6: version 4 is none of 1, 2 and 3");
    fails("x.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "byte 8: header length 4294967295");
    let bytes = |descr: &str, shape: &str| npy(descr, shape, &[0; 16]);
    fails("x.npy", &bytes("'<c8'", "(2,)"), "byte 20: field `descr`: elements of type `<c8`");
    fails("x.npy", &bytes("'|f4'", "(4,)"), "field `descr`: elements of type `|f4`");
    fails("x.npy", &bytes("[('a', '<f4')]", "(4,)"), "records of several fields");
    fails("x.npy", &bytes("4", "(4,)"), "field `descr`: expected a string");
    fails("x.npy", &bytes("'<f4'", "(-4,)"), "field `shape`: expected a whole number");
    fails("x.npy", &bytes("'<f4'", "(4.0,)"), "`)` expected");
    fails("x.npy", &bytes("'<f4'", "4"), "`(` expected");
    fails("x.npy", &bytes("'<f4'", &format!("({})", "1,".repeat(65))), "more than 64");
    let huge = format!("({}, {})", u64::MAX, 2);
    fails("x.npy", &bytes("'<f4'", &huge), "more than can be counted");
    fails("x.npy", &bytes("'<f4'", "(99999999999999999999,)"), "fits 64 bits");
    let header = |text: &str| {
        [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
    };
    fails("x.npy", &header("{'descr': '<f4', 'shape': ()}"), "`fortran_order` is missing");
    fails("x.npy", &header("{'descr': '<f4', 'descr': '<f4'}"), "byte 27: a field is given twice");
    fails("x.npy", &header("{'colour': '<f4'}"), "byte 11: unknown field `colour`");
    fails("x.npy", &header("{'descr': '<f4'} x"), "byte 27: text follows");
    fails("x.npy", &header("{'fortran_order': true}"), "expected True or False");
    fails("x.npy", &header(""), "`{` expected here");
}

#[test]
fn a_header_in_other_words_means_the_same() {
    for header in [
        "{\"shape\":(2,2),\"fortran_order\":False,\"descr\":\"<f4\"}",
        " { 'shape' : ( 2L , 2L , ) , 'descr' : '=f4' , 'fortran_order' : False , } \n",
    ] {
        let length = (header.len() as u16).to_le_bytes();
        let bytes =
            [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &1_f32.to_ne_bytes().repeat(4)];
        let array = &read_all("x.npy", &bytes.concat()).unwrap()[0];
        assert_eq!(
            (&array.info.dims[..], &array.values),
            (&[2, 2][..], &Values::F32(vec![1.0; 4]))
        );
    }
}

#[test]
fn files_cut_anywhere_and_files_too_long_are_errors() {
    let tensors = safetensors(
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        &[1, 2, 3, 4, 5, 6, 7, 8],
    );
    let zip = stored_zip(&[("x.npy", &small())]);
    for (name, bytes) in [("x.npy", small()), ("x.npz", zip), ("x.safetensors", tensors)] {
        assert!(read_all(name, &bytes).is_ok(), "{name}");
        for n in 0..bytes.len() {
            assert!(read_all(name, &bytes[..n]).is_err(), "{name} {n}");
        }
    }
    let longer = [small(), vec![0]].concat();
    fails("x.npy", &longer, "takes 16 bytes, but 17 follow: something was appended");
    fails("x.npy", &small()[..80], "cut short");
    fails("x.txt", &small(), "must end in .npy, .npz, .safetensors");
}

#[test]
fn sizes_that_cannot_be_cost_no_memory() {
    // Headers that promise 8 EiB, in each format.
    let shape = format!("({},)", 1_u64 << 60);
    fails("x.npy", &npy("'<f8'", &shape, &[0; 16]), "takes 9223372036854775808 bytes");
    let header =
        format!(r#"{{"a":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}}"#, 1_u64 << 60);
    let promise = "the header promises 1152921504606846976 bytes";
    fails("x.safetensors", &safetensors(&header, &[0; 16]), promise);
    let nothing = safetensors("", &[]);
    fails(
        "x.safetensors",
        &[&[255; 8][..], &nothing].concat(),
        "header length 18446744073709551615",
    );
    let packed = deflate(&small());
    fails(
        "x.npz",
        &deflated_zip(&packed, u32::MAX, 0),
        "x.npz:x: byte 0: the member promises 42949672",
    );
    // An empty array is one, however long its other dimensions.
    assert!(read_all("x.npy", &npy("'<f4'", "(0, 5)", &[])).is_ok());
    fails("x.npy", &npy("'<f4'", &format!("(0, {0}, {0})", u64::MAX), &[]), "can be counted");
}

#[test]
fn a_deflated_member_ends_where_its_entry_says_with_its_checksum() {
    let bytes = small();
    let (packed, size) = (deflate(&bytes), bytes.len() as u32);
    let good = deflated_zip(&packed, size, crc(&bytes));
    assert_eq!(read_all("x.npz", &good).unwrap()[0].values, Values::F32(vec![0.0; 4]));
    fails(
        "x.npz",
        &deflated_zip(&packed, size, 1),
        "x.npz:x: byte 86: cannot read on: the checksum",
    );
    // A bomb: more comes out than the entry admits.
    let longer = deflate(&[&bytes[..], &[0; 100_000]].concat());
    fails("x.npz", &deflated_zip(&longer, size, crc(&bytes)), "longer than its entry says");
    fails("x.npz", &deflated_zip(&packed, size + 4, crc(&bytes)), "takes 16 bytes, but 20 follow");
    let short = deflate(&bytes[..80]);
    fails("x.npz", &deflated_zip(&short, size, crc(&bytes)), "16 bytes expected from byte 70");
    let trailed = [&packed[..], b"more"].concat();
    fails("x.npz", &deflated_zip(&trailed, size, crc(&bytes)), "bytes follow the compressed data");
}

#[test]
fn archives_of_other_things_say_so() {
    fails("x.npz", &small(), "x.npz: byte 0: is no whole archive");
    fails("x.npz", &stored_zip(&[("a.npy", &small()), ("a", &small())]), "are called `a`");
    let file = open("x.npz", &stored_zip(&[("notes.txt", b"none"), ("a.npy", &small())])).unwrap();
    assert!(file.read("a").is_ok());
    let error = file.read("notes.txt").unwrap_err().to_string();
    assert!(error.starts_with("x.npz:notes.txt: byte 4: magic string"), "{error}");
    assert_eq!(open("x.npz", &stored_zip(&[])).unwrap().names().count(), 0);
    // The general purpose bit of encryption, in the central directory and before the data.
    let mut locked = stored_zip(&[("a.npy", &small())]);
    let central = locked.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    (locked[6], locked[central + 8]) = (1, 1);
    fails("x.npz", &locked, "x.npz:a: byte 0: the member is encrypted");
}

#[test]
fn safetensors_say_which_array_is_wrong() {
    let header = r#"{"__metadata__":{"by":"hand"},"a":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},
        "b":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]},"c":{"dtype":"U8","shape":[],"data_offsets":[6,7]},
        "d":{"dtype":"BOOL","shape":[1],"data_offsets":[7,8]}}"#;
    let file = open("x.safetensors", &safetensors(header, &[0, 0x3c, 0, 0xc0, 0x80, 0x3f, 9, 1]));
    let file = file.unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert_eq!(file.metadata()["by"], "hand");
    assert_eq!(file.read("a").unwrap().values, Values::F32(vec![1.0, -2.0]));
    assert_eq!(file.read("b").unwrap().values, Values::F32(vec![1.0]));
    assert_eq!(file.read("c").unwrap().values, Values::U8(vec![9]));
    let error = file.read("d").unwrap_err().to_string();
    let at = 8 + header.len() + 7;
    assert!(error.contains(&format!("byte {at}: array `d`: field `dtype`: BOOL")), "{error}");
    fails("x.safetensors", &safetensors("{", &[]), "x.safetensors: byte 8: header");
    fails("x.safetensors", &safetensors("{}", &[1]), "promises 0 bytes of data, but 1 follow");
}

#[test]
fn column_major_arrays_come_in_rows_too() {
    let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (3, 2), }";
    let length = (header.len() as u16).to_le_bytes();
    let bytes =
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &[1, 3, 5, 2, 4, 6]].concat();
    let mut rows = open("x.npy", &bytes).unwrap().stream("x").unwrap();
    assert_eq!(rows.next_rows(2).unwrap(), Values::U8(vec![1, 2, 3, 4]));
    assert_eq!(rows.next_rows(9).unwrap(), Values::U8(vec![5, 6]));
    assert!(rows.next_rows(1).unwrap().is_empty());
    assert_eq!(read_all("x.npy", &bytes).unwrap()[0].values, Values::U8((1..=6).collect()));
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes: Vec<u8>, prefix in 0..200_usize, at in 0..400_usize, byte: u8) {
        let header = r#"{"mean":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        for (name, good) in [
            ("x.npy", small()),
            ("x.npz", stored_zip(&[("a.npy", &small())])),
            ("x.npz", deflated_zip(&deflate(&small()), 86, crc(&small()))),
            ("x.safetensors", safetensors(header, &[0; 8])),
        ] {
            let _ = read_all(name, &[&good[..prefix.min(good.len())], &bytes].concat());
            let mut changed = good;
            let at = at % changed.len();
            changed[at] = byte;
            let _ = read_all(name, &changed);
        }
    }
}
