//! The header of an `.npy` file, as NumPy's `numpy.lib.format` defines it.
//!
//! Six bytes of magic, two of version, the length of the header, and the header itself: a Python
//! dictionary with the keys `descr`, `fortran_order` and `shape`. The elements follow.

use super::{Element, Layout};
use crate::{
    error::{Error, Result},
    source::Source,
};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Headers of arrays of numbers are of some hundred bytes.
const LONGEST_HEADER: u32 = 1 << 16;
/// NumPy's own limit since version 2.
const MOST_DIMS: usize = 64;

/// Reads a header and leaves the source at the first element.
pub(super) fn read_header(source: &mut Source) -> Result<Layout> {
    let path = source.path().to_owned();
    let fail = |offset: u64, reason: String| Err(Error::format(&path, offset, reason));
    let start = source.offset();
    let magic = source.take(MAGIC.len() as u64, "magic string")?;
    if magic != MAGIC {
        return fail(start, "does not begin with \\x93NUMPY; not an .npy file".into());
    }
    let version = source.take(2, "version")?;
    let length_bytes = match version[0] {
        1 => 2,
        2 | 3 => 4,
        other => {
            return fail(start + 6, format!("version {other} is none of 1, 2 and 3"));
        }
    };
    let length = source.take(length_bytes, "header length")?;
    let length = length.iter().rev().fold(0, |length, &byte| length << 8 | u32::from(byte));
    if length > LONGEST_HEADER {
        let reason = format!("header length {length} is above {LONGEST_HEADER}");
        return fail(start + 8, reason);
    }
    let begin = source.offset();
    let header = source.take(length.into(), "header")?;
    Parser { text: &header, at: 0 }
        .dictionary()
        .or_else(|(at, reason)| fail(begin + at as u64, reason))
}

/// What is wrong, and at which byte of the header.
type Parsed<T> = Result<T, (usize, String)>;

/// A reader of the one dictionary that a header holds.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn dictionary(&mut self) -> Parsed<Layout> {
        let (mut descr, mut fortran, mut dims) = (None, None, None);
        self.expect(b'{')?;
        while !self.accept(b'}') {
            self.blanks();
            let at = self.at;
            let key = self.string("a key")?;
            self.expect(b':')?;
            let twice = match key {
                b"descr" => descr.replace(self.descr()?).is_some(),
                b"fortran_order" => fortran.replace(self.boolean()?).is_some(),
                b"shape" => dims.replace(self.shape()?).is_some(),
                _ => {
                    let key = String::from_utf8_lossy(key);
                    return Err((at, format!("unknown field `{}`", key.escape_debug())));
                }
            };
            if twice {
                return Err((at, "a field is given twice".into()));
            }
            if !self.accept(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        self.blanks();
        if self.at < self.text.len() {
            return Err((self.at, "text follows the dictionary".into()));
        }
        let missing = |field: &str| (0, format!("field `{field}` is missing"));
        let (element, big_endian) = descr.ok_or_else(|| missing("descr"))?;
        let fortran = fortran.ok_or_else(|| missing("fortran_order"))?;
        let dims = dims.ok_or_else(|| missing("shape"))?;
        Ok(Layout { dims, element, big_endian, fortran })
    }

    fn descr(&mut self) -> Parsed<(Element, bool)> {
        self.blanks();
        let at = self.at;
        if self.text.get(at) == Some(&b'[') {
            let reason = "field `descr`: records of several fields are not read; save one array";
            return Err((at, reason.into()));
        }
        let text = self.string("field `descr`")?;
        let (order, kind) = text.split_at(text.len().min(1));
        let element = match kind {
            b"u1" => Some(Element::U8),
            b"i4" => Some(Element::I32),
            b"i8" => Some(Element::I64),
            b"f2" => Some(Element::F16),
            b"f4" => Some(Element::F32),
            b"f8" => Some(Element::F64),
            _ => None,
        };
        let big_endian = match order {
            b">" => Some(true),
            b"<" => Some(false),
            b"=" => Some(cfg!(target_endian = "big")),
            b"|" if kind == b"u1" => Some(false),
            _ => None,
        };
        element.zip(big_endian).ok_or_else(|| {
            let text = String::from_utf8_lossy(text);
            let reason = format!(
                "field `descr`: elements of type `{}` are not read; save uint8, int32, int64, \
                 float16, float32 or float64",
                text.escape_debug()
            );
            (at, reason)
        })
    }

    fn boolean(&mut self) -> Parsed<bool> {
        self.blanks();
        for (word, value) in [("True", true), ("False", false)] {
            if self.text[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err((self.at, "field `fortran_order`: expected True or False".into()))
    }

    fn shape(&mut self) -> Parsed<Vec<usize>> {
        let mut dims = Vec::new();
        self.expect(b'(')?;
        while !self.accept(b')') {
            self.blanks();
            let at = self.at;
            let digits = self.text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            self.at += digits;
            let number = std::str::from_utf8(&self.text[at..self.at]).ok();
            let Some(dim) = number.and_then(|number| number.parse().ok()) else {
                let reason = "field `shape`: expected a whole number that fits 64 bits";
                return Err((at, reason.into()));
            };
            if dims.len() == MOST_DIMS {
                return Err((at, format!("field `shape`: more than {MOST_DIMS} dimensions")));
            }
            dims.push(dim);
            // Python 2 wrote long integers with this letter.
            if self.text.get(self.at) == Some(&b'L') {
                self.at += 1;
            }
            if !self.accept(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(dims)
    }

    /// A quoted string without escapes.
    fn string(&mut self, what: &str) -> Parsed<&'a [u8]> {
        self.blanks();
        let at = self.at;
        let quote = self.text.get(at).filter(|byte| b"'\"".contains(byte));
        let rest = self.text.get(at + 1..).unwrap_or_default();
        let length = quote.and_then(|quote| rest.iter().position(|byte| byte == quote));
        let Some(length) = length else {
            return Err((at, format!("{what}: expected a string in quotes")));
        };
        self.at = at + length + 2;
        Ok(&rest[..length])
    }

    fn blanks(&mut self) {
        let blank = |byte: &&u8| b" \t\r\n".contains(byte);
        self.at += self.text[self.at..].iter().take_while(blank).count();
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Parsed<()> {
        if self.accept(byte) {
            return Ok(());
        }
        let expected = char::from(byte);
        Err((self.at, format!("the header is no dictionary of NumPy: `{expected}` expected here")))
    }
}
