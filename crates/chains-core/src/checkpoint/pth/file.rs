//! The two layouts of a file: where the pickle is, and where the values of a storage are.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use super::{
    super::tensors::refuse,
    pickle::{Entry, Machine, Storage, Value},
    reader::{Counted, Refusal},
};
use crate::error::{Error, Result};

/// The single stream begins with this number as a pickle, after two bytes of protocol.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The archive is a ZIP file.
const ZIP: &[u8] = b"PK\x03\x04";
/// Longest name in an archive.
const LONGEST: usize = 4096;
/// How deep dictionaries may lie in each other, and how many values they may hold.
const DEEPEST: usize = 16;
const MOST: usize = 1 << 20;
/// Bytes of all names together.
const LETTERS: usize = 1 << 26;

/// Where values are.
#[derive(Debug)]
pub(super) enum Archive {
    /// In the file `folder/data/KEY` of an archive.
    Zip { folder: String },
    /// In a stream, from this byte on by key.
    Stream { places: BTreeMap<String, u64> },
}

type Entries = BTreeMap<String, Entry>;

impl Archive {
    /// Reads the pickle of a file, whose dictionary holds tensors alone or is `nested`.
    pub(super) fn open(path: &Path, nested: bool) -> Result<(Self, Entries)> {
        let fail = |error| Error::io(path, error);
        let mut file = File::open(path).map_err(fail)?;
        if !file.metadata().map_err(fail)?.is_file() {
            return Err(refuse(path, "not a file".to_owned()));
        }
        let mut head = Vec::new();
        (&mut file).take(2 + MAGIC.len() as u64).read_to_end(&mut head).map_err(fail)?;
        file.rewind().map_err(fail)?;
        let found = if head.starts_with(ZIP) {
            zipped(file, nested)
        } else if head.get(2..) == Some(MAGIC) {
            streamed(file, nested)
        } else {
            Err("not a file of `torch.save`: neither an archive nor a stream of it".to_owned())
        };
        found.map_err(|reason| refuse(path, reason))
    }

    /// The bytes of a storage.
    pub(super) fn read(&self, path: &Path, storage: &Storage) -> Result<Vec<u8>> {
        let fail = |error| Error::io(path, error);
        let len = (storage.len as u64).saturating_mul(storage.element.size() as u64);
        let mut file = File::open(path).map_err(fail)?;
        let refuse = |reason: String| {
            refuse(path, format!("values `{}` ({len} bytes): {reason}", storage.key))
        };
        let mut bytes = Vec::new();
        match self {
            Self::Stream { places } => {
                let place = places.get(&*storage.key);
                let place = place.ok_or_else(|| refuse("are not in the file".to_owned()))?;
                file.seek(SeekFrom::Start(*place)).map_err(fail)?;
                file.take(len).read_to_end(&mut bytes).map_err(fail)?;
            }
            Self::Zip { folder } => {
                let name = format!("{folder}/data/{}", storage.key);
                bytes = member(&mut archive(file).map_err(refuse)?, &name, len).map_err(refuse)?;
            }
        }
        if bytes.len() as u64 != len {
            return Err(refuse(format!("the file has {} of them", bytes.len())));
        }
        Ok(bytes)
    }
}

type Zip = zip::ZipArchive<BufReader<File>>;

fn archive(file: File) -> Refusal<Zip> {
    zip::ZipArchive::new(BufReader::new(file)).map_err(|error| error.to_string())
}

/// A file of an archive, of which no more than `limit` bytes and one are read.
fn member(archive: &mut Zip, name: &str, limit: u64) -> Refusal<Vec<u8>> {
    let file = archive.by_name(name).map_err(|error| format!("`{name}`: {error}"))?;
    let mut bytes = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| format!("`{name}`: {error}"))?;
    Ok(bytes)
}

fn zipped(file: File, nested: bool) -> Refusal<(Archive, Entries)> {
    let mut archive = archive(file)?;
    let mut folders = Vec::new();
    for name in archive.file_names() {
        let name = name.map_err(|error| error.to_string())?;
        if let Some(folder) = name.strip_suffix("/data.pkl")
            && folder.len() < LONGEST
        {
            folders.push(folder.to_owned());
        }
    }
    let [folder] = <[String; 1]>::try_from(folders)
        .map_err(|folders| format!("{} pickles `data.pkl` instead of one", folders.len()))?;
    let order = format!("{folder}/byteorder");
    if archive.index_for_name(&order).is_some() && member(&mut archive, &order, 9)? != b"little" {
        return Err("the values are not little-endian".to_owned());
    }
    // Stored as it is, not packed: no longer than the file.
    let bytes = member(&mut archive, &format!("{folder}/data.pkl"), u64::MAX)?;
    let mut machine = if nested { Machine::lenient() } else { Machine::default() };
    let mut from = Counted { inner: &bytes[..], at: 0 };
    let object = machine.run(&mut from).map_err(at("data.pkl, "))?;
    Ok((Archive::Zip { folder }, entries(&machine, object, nested)?))
}

/// Four pickles (magic number, protocol, properties of the system, the object), a fifth with the
/// keys of all storages, and these in that order, each after its number of values.
fn streamed(file: File, nested: bool) -> Refusal<(Archive, Entries)> {
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut from = Counted { inner: BufReader::new(file), at: 0 };
    let mut machine = if nested { Machine::lenient() } else { Machine::default() };
    let mut next = |machine: &mut Machine| machine.run(&mut from).map_err(at(""));
    next(&mut machine)?;
    next(&mut machine)?;
    let system = next(&mut machine)?;
    let little = machine.pairs(&system)?.iter().any(|(key, value)| {
        matches!((key, value), (Value::Text(key), Value::Bool(true)) if &**key == "little_endian")
    });
    if !little {
        return Err("the values are not little-endian".to_owned());
    }
    let object = next(&mut machine)?;
    let entries = entries(&machine, object, nested)?;
    let keys = next(&mut machine)?;
    let sizes: BTreeMap<&str, usize> =
        entries.values().map(|entry| (&*entry.storage.key, entry.storage.element.size())).collect();
    let mut places = BTreeMap::new();
    let mut place = from.at;
    for key in machine.items(&keys)? {
        let Value::Text(key) = key else { return Err("a key that is no text".to_owned()) };
        let unknown = || format!("values `{key}`, which belong to no tensor");
        let size = *sizes.get(&**key).ok_or_else(unknown)? as u64;
        from.inner.seek(SeekFrom::Start(place)).map_err(|error| error.to_string())?;
        let len = from.array().map(u64::from_le_bytes)?;
        places.insert(key.to_string(), place + 8);
        let end = len.checked_mul(size).and_then(|bytes| bytes.checked_add(place + 8));
        place = match end {
            Some(end) if end <= length => end,
            _ => return Err(format!("values `{key}` from byte {place} end beyond the file")),
        };
    }
    Ok((Archive::Stream { places }, entries))
}

fn at(what: &'static str) -> impl Fn((u64, String)) -> String {
    move |(at, reason)| format!("{what}byte {at}: {reason}")
}

/// The tensors of a dictionary.
fn entries(machine: &Machine, object: Value, nested: bool) -> Refusal<Entries> {
    if nested { all_entries(machine, object) } else { flat_entries(machine, &object) }
}

/// Those of a dictionary of tensors; a name that is given twice keeps the last, as in Python.
fn flat_entries(machine: &Machine, object: &Value) -> Refusal<Entries> {
    let mut entries = Entries::new();
    for (key, value) in machine.pairs(object)? {
        match (key, value) {
            (Value::Text(name), Value::Tensor(entry)) => {
                entries.insert(name.to_string(), Entry::clone(entry));
            }
            (Value::Text(name), _) => return Err(format!("`{name}` is no tensor")),
            _ => return Err("a name that is no text".to_owned()),
        }
    }
    Ok(entries)
}

/// Those of dictionaries and lists within each other, names joined by dots; other values are passed
/// over.
fn all_entries(machine: &Machine, object: Value) -> Refusal<Entries> {
    let mut entries = Entries::new();
    let mut open = vec![(String::new(), object, 0)];
    let (mut seen, mut letters) = (0, 0);
    while let Some((name, value, depth)) = open.pop() {
        // The name of what `name` holds. A list may hold itself, a text be the key of every pair.
        let mut inner = |key: &str| {
            (seen, letters) = (seen + 1, letters + name.len() + key.len());
            if seen > MOST || letters > LETTERS || name.len() + key.len() > LONGEST {
                return Err(format!("`{name:.80}`: dictionaries too deep or too many"));
            }
            Ok(match name.as_str() {
                "" => key.to_owned(),
                outer => format!("{outer}.{key}"),
            })
        };
        if depth > DEEPEST {
            return Err(format!("`{name:.80}`: dictionaries too deep"));
        }
        match value {
            Value::Tensor(entry) => {
                let before = entries.insert(name.clone(), Entry::clone(&entry));
                if before.is_some() {
                    return Err(format!("`{name}` is given twice"));
                }
            }
            Value::Dict(_) => {
                for (key, value) in machine.pairs(&value)? {
                    let key = match key {
                        Value::Text(key) => inner(key)?,
                        Value::Int(key) => inner(&key.to_string())?,
                        _ => continue,
                    };
                    open.push((key, value.clone(), depth + 1));
                }
            }
            Value::List(_) => {
                for (at, value) in machine.items(&value)?.iter().enumerate() {
                    open.push((inner(&at.to_string())?, value.clone(), depth + 1));
                }
            }
            _ => {}
        }
    }
    Ok(entries)
}
