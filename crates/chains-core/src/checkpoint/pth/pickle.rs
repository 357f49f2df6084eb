//! A machine for pickles that hold a state dictionary.

use std::{collections::HashMap, io::Read, rc::Rc};

use super::reader::{Counted, Refusal};

/// Axes of a tensor: more are no model's.
const MOST_AXES: usize = 16;

/// What the values of a storage are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    U8,
}

/// A run of values somewhere in the file.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) key: Rc<str>,
    pub(super) element: Element,
    pub(super) len: usize,
}

/// A tensor before its values are read.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) storage: Storage,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

/// Anything on the machine's stack. What holds others is a number in the machine's own list: copies
/// are cheap, and nothing is nested.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Int(i64),
    Text(Rc<str>),
    /// `module name`.
    Global(Rc<str>),
    /// A tuple or a list.
    List(usize),
    Dict(usize),
    Storage(Rc<Storage>),
    Tensor(Rc<Entry>),
    Bool(bool),
    /// A number or a text that no tensor needs.
    Other,
    Mark,
}

/// The machine: its stack, what was noted for later, and everything that holds others.
#[derive(Default)]
pub(super) struct Machine {
    stack: Vec<Value>,
    notes: HashMap<u32, Value>,
    lists: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    /// Items that calls copied, which a few bytes may ask for again and again.
    copied: u64,
    /// Objects of unknown functions are taken for values that no tensor needs.
    lenient: bool,
}

impl Machine {
    /// A machine that passes over what it does not know, as the state of a training holds it.
    pub(super) fn lenient() -> Self {
        Self { lenient: true, ..Self::default() }
    }

    /// Runs one pickle; the value that it leaves, or the byte at which it is refused and why.
    pub(super) fn run<R: Read>(&mut self, from: &mut Counted<R>) -> Result<Value, (u64, String)> {
        // Each pickle of a stream starts afresh.
        self.stack.clear();
        self.notes.clear();
        loop {
            let at = from.at;
            let code = from.byte().map_err(|reason| (at, reason))?;
            if code == b'.' {
                return self.pop().map_err(|reason| (at, reason));
            }
            self.step(code, from).map_err(|reason| (at, reason))?;
        }
    }

    /// The items of a tuple or a list.
    pub(super) fn items(&self, value: &Value) -> Refusal<&[Value]> {
        match value {
            Value::List(at) => Ok(&self.lists[*at]),
            other => Err(format!("{} where a list is expected", name(other))),
        }
    }

    /// The pairs of a dictionary in their order.
    pub(super) fn pairs(&self, value: &Value) -> Refusal<&[(Value, Value)]> {
        match value {
            Value::Dict(at) => Ok(&self.dicts[*at]),
            other => Err(format!("{} where a dictionary is expected", name(other))),
        }
    }

    fn step<R: Read>(&mut self, code: u8, from: &mut Counted<R>) -> Refusal<()> {
        let value = match code {
            0x80 => return from.byte().map(drop),
            // A frame: its length, of no use here.
            0x95 => return from.array::<8>().map(drop),
            b'(' => Value::Mark,
            b'N' => Value::Other,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(from.byte()?.into()),
            b'M' => Value::Int(from.array().map(u16::from_le_bytes)?.into()),
            b'J' => Value::Int(from.array().map(i32::from_le_bytes)?.into()),
            0x8a => from.long()?.map_or(Value::Other, Value::Int),
            b'G' => {
                from.array::<8>()?;
                Value::Other
            }
            b'X' | b'T' => {
                let len = from.word()?;
                Value::Text(from.text(len.into())?.into())
            }
            0x8c | b'U' => {
                let len = from.byte()?;
                Value::Text(from.text(len.into())?.into())
            }
            b'c' => {
                let (module, item) = (from.line()?, from.line()?);
                Value::Global(format!("{module} {item}").into())
            }
            b'q' | b'r' | 0x94 => return self.note(code, from),
            b'h' | b'j' => {
                let number = if code == b'h' { from.byte()?.into() } else { from.word()? };
                let noted = self.notes.get(&number).cloned();
                noted.ok_or_else(|| format!("nothing was noted as {number}"))?
            }
            _ => self.build(code, from.at)?,
        };
        self.stack.push(value);
        Ok(())
    }

    /// The steps that make a value of others on the stack, `read` bytes into the file.
    fn build(&mut self, code: u8, read: u64) -> Refusal<Value> {
        match code {
            b'}' => Ok(self.dict(Vec::new())),
            b']' | b')' => Ok(self.list(Vec::new())),
            b't' | b'l' => {
                let items = self.marked()?;
                Ok(self.list(items))
            }
            0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(code - 0x84));
                let items = self.stack.split_off(start.ok_or("too little on the stack")?);
                Ok(self.list(items))
            }
            b'd' | b'u' => {
                let items = self.marked()?;
                let target = if code == b'd' { self.dict(Vec::new()) } else { self.pop()? };
                self.set(target, items)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                let target = self.pop()?;
                self.set(target, vec![key, value])
            }
            b'a' | b'e' => {
                let items = if code == b'e' { self.marked()? } else { vec![self.pop()?] };
                let target = self.pop()?;
                match target {
                    Value::List(at) => self.lists[at].extend(items),
                    Value::Other if self.lenient => {}
                    other => return Err(format!("items are added to {}", name(&other))),
                }
                Ok(target)
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(item), Value::Text(module)) => {
                    Ok(Value::Global(format!("{module} {item}").into()))
                }
                _ => Err("a name that is no text".to_owned()),
            },
            b'Q' => {
                let id = self.pop()?;
                self.storage(&id)
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(&function, &arguments, read)
            }
            // Attributes, such as a module's `_metadata`, are let go.
            b'b' => {
                self.pop()?;
                self.pop()
            }
            _ => Err(format!("step {code:#04x}, which no state dictionary needs")),
        }
    }

    fn note<R: Read>(&mut self, code: u8, from: &mut Counted<R>) -> Refusal<()> {
        let number = match code {
            b'q' => from.byte()?.into(),
            b'r' => from.word()?,
            _ => self.notes.len() as u32,
        };
        let top = self.stack.last().cloned().ok_or("the stack is empty")?;
        self.notes.insert(number, top);
        Ok(())
    }

    fn pop(&mut self) -> Refusal<Value> {
        match self.stack.pop() {
            Some(Value::Mark) => Err("a mark where a value is expected".to_owned()),
            Some(value) => Ok(value),
            None => Err("the stack is empty".to_owned()),
        }
    }

    /// What lies above the last mark.
    fn marked(&mut self) -> Refusal<Vec<Value>> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark));
        let items = self.stack.split_off(mark.ok_or("no mark on the stack")? + 1);
        self.stack.pop();
        Ok(items)
    }

    fn list(&mut self, items: Vec<Value>) -> Value {
        self.lists.push(items);
        Value::List(self.lists.len() - 1)
    }

    fn dict(&mut self, pairs: Vec<(Value, Value)>) -> Value {
        self.dicts.push(pairs);
        Value::Dict(self.dicts.len() - 1)
    }

    /// Adds keys and values in turn.
    fn set(&mut self, target: Value, items: Vec<Value>) -> Refusal<Value> {
        let at = match target {
            Value::Dict(at) => at,
            Value::Other if self.lenient => return Ok(target),
            _ => return Err(format!("keys are set in {}", name(&target))),
        };
        if !items.len().is_multiple_of(2) {
            return Err("a key without a value".to_owned());
        }
        let pairs = items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        self.dicts[at].extend(pairs);
        Ok(target)
    }

    /// A storage from its tuple: the word `storage`, its type, key, place and number of values, and
    /// in the old layout a view, which is none.
    fn storage(&self, id: &Value) -> Refusal<Value> {
        let (element, key, len) = match self.items(id)? {
            [Value::Text(word), Value::Global(kind), Value::Text(key), _, Value::Int(len)]
            | [
                Value::Text(word),
                Value::Global(kind),
                Value::Text(key),
                _,
                Value::Int(len),
                Value::Other,
            ] if &**word == "storage" => (element(kind)?, key.clone(), size(*len)?),
            _ => return Err("a reference that is no storage".to_owned()),
        };
        Ok(Value::Storage(Rc::new(Storage { key, element, len })))
    }

    /// Counts items that are to be copied: together never more than there are bytes so far.
    fn copies(copied: &mut u64, items: usize, read: u64) -> Refusal<()> {
        *copied = copied.saturating_add(items as u64);
        if *copied > read {
            return Err("lists that are used again and again, beyond the file's size".to_owned());
        }
        Ok(())
    }

    /// The few functions that a state dictionary needs.
    fn call(&mut self, function: &Value, arguments: &Value, read: u64) -> Refusal<Value> {
        let function = match function {
            Value::Global(function) => function,
            Value::Other if self.lenient => return Ok(Value::Other),
            _ => return Err(format!("a call of {}", name(function))),
        };
        let mut copied = self.copied;
        let arguments = self.items(arguments)?;
        let value = match (&**function, arguments) {
            ("collections OrderedDict", []) => self.dict(Vec::new()),
            ("collections OrderedDict", [pairs]) => {
                let pair = |pair: &Value| match self.items(pair)? {
                    [key, value] => Ok((key.clone(), value.clone())),
                    _ => Err("a pair that has not two items".to_owned()),
                };
                let pairs = self.items(pairs)?;
                Self::copies(&mut copied, pairs.len(), read)?;
                let pairs = pairs.iter().map(pair).collect::<Refusal<_>>()?;
                self.dict(pairs)
            }
            ("torch._utils _rebuild_parameter", [tensor @ Value::Tensor(_), ..]) => tensor.clone(),
            (
                "torch._utils _rebuild_tensor_v2",
                [Value::Storage(storage), Value::Int(offset), shape, stride, ..],
            ) => {
                let sizes = |value: &Value| -> Refusal<Vec<usize>> {
                    let side = |value: &Value| match value {
                        Value::Int(n) => size(*n),
                        other => Err(format!("{} as a size", name(other))),
                    };
                    let sides = self.items(value)?;
                    if sides.len() > MOST_AXES {
                        return Err(format!("a tensor of {} axes", sides.len()));
                    }
                    sides.iter().map(side).collect()
                };
                Value::Tensor(Rc::new(Entry {
                    storage: Storage::clone(storage),
                    offset: size(*offset)?,
                    shape: sizes(shape)?,
                    stride: sizes(stride)?,
                }))
            }
            _ if self.lenient => Value::Other,
            (function, _) => {
                let function = dotted(function);
                return Err(format!("a call of `{function}`, or not as a tensor needs it"));
            }
        };
        self.copied = copied;
        Ok(value)
    }
}

fn element(kind: &str) -> Refusal<Element> {
    Ok(match kind {
        "torch DoubleStorage" => Element::F64,
        "torch FloatStorage" => Element::F32,
        "torch HalfStorage" => Element::F16,
        "torch BFloat16Storage" => Element::BF16,
        "torch LongStorage" => Element::I64,
        "torch IntStorage" => Element::I32,
        "torch ByteStorage" => Element::U8,
        other => return Err(format!("values of the type `{}`", dotted(other))),
    })
}

fn size(n: i64) -> Refusal<usize> {
    usize::try_from(n).map_err(|_| format!("the size {n}"))
}

fn dotted(global: &str) -> String {
    global.replace(' ', ".")
}

fn name(value: &Value) -> &'static str {
    match value {
        Value::Int(_) => "a number",
        Value::Text(_) => "a text",
        Value::Global(_) => "a name",
        Value::List(_) => "a list",
        Value::Dict(_) => "a dictionary",
        Value::Storage(_) => "a storage",
        Value::Tensor(_) => "a tensor",
        Value::Bool(_) | Value::Other => "a constant",
        Value::Mark => "a mark",
    }
}
