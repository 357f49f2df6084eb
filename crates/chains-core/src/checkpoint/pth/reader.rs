//! The bytes of a pickle, and how far it is read.

use std::io::Read;

/// Why a pickle is refused.
pub(super) type Refusal<T> = Result<T, String>;

/// A reader that knows how far it is.
pub(super) struct Counted<R> {
    pub(super) inner: R,
    pub(super) at: u64,
}

impl<R: Read> Counted<R> {
    pub(super) fn array<const N: usize>(&mut self) -> Refusal<[u8; N]> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(|_| "the file ends here".to_owned())?;
        self.at += N as u64;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Refusal<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn word(&mut self) -> Refusal<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// So many bytes, of which no more are kept than there are.
    fn bytes(&mut self, len: u64) -> Refusal<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&mut self.inner).take(len).read_to_end(&mut bytes);
        if read.ok() != usize::try_from(len).ok() {
            return Err(format!("{len} bytes are promised, the file ends before"));
        }
        self.at += len;
        Ok(bytes)
    }

    pub(super) fn text(&mut self, len: u64) -> Refusal<String> {
        String::from_utf8(self.bytes(len)?).map_err(|_| "a text that is not UTF-8".to_owned())
    }

    /// A whole number of up to 255 bytes; none if it does not fit 64 bits.
    pub(super) fn long(&mut self) -> Refusal<Option<i64>> {
        let len = self.byte()?;
        let bytes = self.bytes(len.into())?;
        if bytes.len() > 8 {
            return Ok(None);
        }
        let fill = if bytes.last().is_some_and(|last| *last >= 0x80) { 0xff } else { 0 };
        let mut word = [fill; 8];
        word[..bytes.len()].copy_from_slice(&bytes);
        Ok(Some(i64::from_le_bytes(word)))
    }

    /// What comes before the next line feed.
    pub(super) fn line(&mut self) -> Refusal<String> {
        const LONGEST: usize = 1000;
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte if line.len() < LONGEST => line.push(byte),
                _ => return Err(format!("a name of more than {LONGEST} bytes")),
            }
        }
        String::from_utf8(line).map_err(|_| "a name that is not UTF-8".to_owned())
    }
}
