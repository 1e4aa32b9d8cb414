//! A Llama in one file of Rust (edition 2021) and nothing but its standard library.
//!
//!     rustc --edition 2021 -O engines/rust/llama.rs -o llama
//!     ./llama MODEL_DIRECTORY
//!
//! It reads a model directory as Hugging Face lays it out and answers protocol 1: one line of JSON
//! for each line of JSON. The parts stand in the order of the book's chapters, and carry the names
//! and arguments of its listings; Python has them under the same words.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::Path;

type Result<T> = std::result::Result<T, String>;

// ---- JSON: what configs, headers, tokenizers and requests are written in --------------------

#[derive(Clone, Debug, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

const NULL: Json = Json::Null;

impl Json {
    fn parse(text: &str) -> Result<Json> {
        let mut parser = Parser { bytes: text.as_bytes(), at: 0, depth: 0 };
        let value = parser.value()?;
        parser.skip();
        if parser.at < parser.bytes.len() {
            return Err(format!("expected the end of the JSON, got more at byte {}", parser.at));
        }
        Ok(value)
    }

    /// A field of an object; null where there is none.
    fn get(&self, name: &str) -> &Json {
        match self {
            Json::Object(fields) => {
                fields.iter().find(|(n, _)| n == name).map_or(&NULL, |(_, v)| v)
            }
            _ => &NULL,
        }
    }

    fn text(&self) -> Option<&str> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    fn number(&self) -> Option<f64> {
        if let Json::Number(number) = self { Some(*number) } else { None }
    }

    /// A whole number from 0 on.
    fn size(&self) -> Option<usize> {
        self.number().filter(|x| *x >= 0.0 && x.fract() == 0.0 && *x < 9e15).map(|x| x as usize)
    }

    fn list(&self) -> &[Json] {
        if let Json::List(items) = self { items } else { &[] }
    }

    fn fields(&self) -> &[(String, Json)] {
        if let Json::Object(fields) = self { fields } else { &[] }
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn skip(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn fault<T>(&self, expected: &str) -> Result<T> {
        Err(format!("expected {expected} in the JSON at byte {}", self.at))
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return self.fault("a value");
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self) -> Result<Json> {
        self.skip();
        self.depth += 1;
        if self.depth > 100 {
            return self.fault("at most 100 levels");
        }
        let value = match self.bytes.get(self.at) {
            Some(b'{') => self.object(),
            Some(b'[') => self.list(),
            Some(b'"') => Ok(Json::Text(self.text()?)),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => self.number(),
        };
        self.depth -= 1;
        value
    }

    fn number(&mut self) -> Result<Json> {
        let start = self.at;
        while matches!(self.bytes.get(self.at), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
        {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or("");
        match text.parse() {
            Ok(number) => Ok(Json::Number(number)),
            Err(_) => self.fault("a value"),
        }
    }

    fn list(&mut self) -> Result<Json> {
        let mut items = Vec::new();
        self.at += 1;
        self.skip();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value()?);
            self.skip();
            self.at += 1;
            match self.bytes.get(self.at - 1) {
                Some(b',') => {}
                Some(b']') => return Ok(Json::List(items)),
                _ => return self.fault("a comma or the end of a list"),
            }
        }
    }

    fn object(&mut self) -> Result<Json> {
        let mut fields = Vec::new();
        self.at += 1;
        self.skip();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(Json::Object(fields));
        }
        loop {
            self.skip();
            if self.bytes.get(self.at) != Some(&b'"') {
                return self.fault("a name");
            }
            let name = self.text()?;
            self.skip();
            if self.bytes.get(self.at) != Some(&b':') {
                return self.fault("a colon");
            }
            self.at += 1;
            fields.push((name, self.value()?));
            self.skip();
            self.at += 1;
            match self.bytes.get(self.at - 1) {
                Some(b',') => {}
                Some(b'}') => return Ok(Json::Object(fields)),
                _ => return self.fault("a comma or the end of an object"),
            }
        }
    }

    fn text(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        self.at += 1;
        loop {
            let Some(&byte) = self.bytes.get(self.at) else {
                return self.fault("the end of a text");
            };
            self.at += 1;
            match byte {
                b'"' => {
                    return String::from_utf8(bytes).map_err(|_| "expected UTF-8 text".into());
                }
                b'\\' => {
                    let Some(&escaped) = self.bytes.get(self.at) else {
                        return self.fault("a letter after the backslash");
                    };
                    self.at += 1;
                    let plain = match escaped {
                        b'n' => '\n',
                        b't' => '\t',
                        b'r' => '\r',
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'u' => self.escape()?,
                        other => other as char,
                    };
                    bytes.extend(plain.to_string().as_bytes());
                }
                other => bytes.push(other),
            }
        }
    }

    /// The character of \uXXXX, or of two that stand for one beyond 16 bits.
    fn escape(&mut self) -> Result<char> {
        let first = self.four()?;
        if (0xD800..0xDC00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.four()?;
            let code = 0x10000 + ((first - 0xD800) << 10) + (second.wrapping_sub(0xDC00) & 0x3FF);
            return Ok(char::from_u32(code).unwrap_or('\u{FFFD}'));
        }
        Ok(char::from_u32(first).unwrap_or('\u{FFFD}'))
    }

    fn four(&mut self) -> Result<u32> {
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or(b"");
        self.at += 4;
        let text = std::str::from_utf8(digits).unwrap_or("");
        u32::from_str_radix(text, 16).map_err(|_| "expected four digits after \\u".into())
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Rust writes a float with as many digits as it takes to read the same one back.
fn listed<T: std::fmt::Display>(items: &[T]) -> String {
    let texts: Vec<String> = items.iter().map(|item| item.to_string()).collect();
    format!("[{}]", texts.join(","))
}

// ---- Bytes: chapter 1 -----------------------------------------------------------------------

fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// 1 bit of sign, 5 of exponent, 10 of mantissa. Exponent 0 has no leading 1, 31 is ∞ or NaN.
fn f16_to_f32(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = (bits >> 10 & 31) as i32;
    let mantissa = (bits & 1023) as f32;
    match exponent {
        0 => sign * mantissa * (-24f32).exp2(),
        31 => if mantissa == 0.0 { sign * f32::INFINITY } else { f32::NAN },
        _ => sign * (1.0 + mantissa / 1024.0) * ((exponent - 15) as f32).exp2(),
    }
}

struct Entry {
    dtype: String,
    shape: Vec<usize>,
    file: usize,
    start: usize, // bytes from the start of the file
    end: usize,
}

/// The tensors of a model directory, found by name; their bytes as they lie in the files.
struct Checkpoint {
    files: Vec<Vec<u8>>,
    entries: HashMap<String, Entry>,
}

impl Checkpoint {
    /// One file, or the several that an index names.
    fn open(directory: &Path) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint { files: Vec::new(), entries: HashMap::new() };
        let index = directory.join("model.safetensors.index.json");
        if !directory.join("model.safetensors").exists() && index.exists() {
            let index = Json::parse(&read_text(&index)?)?;
            let map = index.get("weight_map").fields();
            let mut names: Vec<&str> = map.iter().filter_map(|(_, file)| file.text()).collect();
            names.sort();
            names.dedup();
            for name in names {
                if name.contains(['/', '\\']) {
                    return Err(format!("expected a file beside the index, got {name:?}"));
                }
                checkpoint.add(&directory.join(name))?;
            }
        } else {
            checkpoint.add(&directory.join("model.safetensors"))?;
        }
        Ok(checkpoint)
    }

    /// 8 bytes of length, so many bytes of JSON, and the data; offsets count from its start.
    fn add(&mut self, path: &Path) -> Result<()> {
        let told = path.display();
        let bytes = fs::read(path).map_err(|e| format!("{told}: expected a file, got: {e}"))?;
        if bytes.len() < 8 {
            return Err(format!("{told}: expected at least 8 bytes, got {}", bytes.len()));
        }
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        if length > bytes.len() as u64 - 8 {
            return Err(format!("{told}: expected a header within the file, got {length} bytes"));
        }
        let data = 8 + length as usize;
        let header = std::str::from_utf8(&bytes[8..data]).map_err(|e| e.to_string())?;
        let mut spans = Vec::new();
        for (name, entry) in Json::parse(header)?.fields() {
            if name == "__metadata__" {
                continue; // notes for people: no tensor
            }
            let entry = Entry::read(entry, data, self.files.len())
                .ok_or_else(|| format!("{told}: {name}: expected dtype, shape and offsets that fit"))?;
            spans.push((entry.start, entry.end));
            self.entries.insert(name.clone(), entry);
        }
        spans.sort();
        let mut end = data;
        for (start, stop) in spans {
            if start != end {
                return Err(format!("{told}: expected tensors side by side, got a hole or overlap"));
            }
            end = stop;
        }
        if end != bytes.len() {
            return Err(format!("{told}: expected {end} bytes, got {}", bytes.len()));
        }
        self.files.push(bytes);
        Ok(())
    }

    /// A tensor in float32, whatever it is stored as.
    fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let entry = self.entries.get(name).ok_or_else(|| format!("expected a tensor {name}"))?;
        let bytes = &self.files[entry.file][entry.start..entry.end];
        let data = match entry.dtype.as_str() {
            "F32" => bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            "BF16" => halves(bytes).map(bf16_to_f32).collect(),
            "F16" => halves(bytes).map(f16_to_f32).collect(),
            other => return Err(format!("{name}: expected F32, F16 or BF16, got {other}")),
        };
        Ok((entry.shape.clone(), data))
    }

    fn shaped(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (got, data) = self.tensor(name)?;
        if got != shape {
            return Err(format!("{name}: expected shape {shape:?}, got {got:?}"));
        }
        Ok(data)
    }
}

impl Entry {
    fn read(json: &Json, data: usize, file: usize) -> Option<Entry> {
        let dtype = json.get("dtype").text()?.to_string();
        let shape: Vec<usize> = json.get("shape").list().iter().map(Json::size).collect::<Option<_>>()?;
        let offsets: Vec<usize> =
            json.get("data_offsets").list().iter().map(Json::size).collect::<Option<_>>()?;
        let [start, end] = offsets[..] else { return None };
        let width = match dtype.as_str() { "F32" => 4, "F16" | "BF16" => 2, _ => return None };
        let count = shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size))?;
        if end.checked_sub(start)? != count.checked_mul(width)? {
            return None;
        }
        Some(Entry { dtype, shape, file, start: data + start, end: data + end })
    }
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| format!("{}: expected a text, got: {e}", path.display()))
}

// ---- Text to ids, and back: chapter 2 -------------------------------------------------------

struct Tokenizer {
    ids: HashMap<Vec<u8>, u32>,                      // bytes of a token -> its id
    ranks: HashMap<(Vec<u8>, Vec<u8>), usize>,       // a pair of pieces -> when it was learned
    bytes: HashMap<u32, Vec<u8>>,                    // id -> bytes
    special: HashMap<String, u32>,                   // control tokens, by their text
    opening: Vec<u32>,                               // what stands in front of every text
}

/// GPT-2's alphabet, turned around: from the letter a vocabulary shows to the byte it stands for.
fn letter_bytes() -> HashMap<char, u8> {
    let mut next = 0x100;
    (0..=255u8)
        .map(|byte| {
            let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
            let letter = if printable { byte as u32 } else { next += 1; next - 1 };
            (char::from_u32(letter).unwrap(), byte)
        })
        .collect()
}

impl Tokenizer {
    /// Byte-level BPE as in the book's own models, GPT-2 and their like. Others are refused.
    fn load(directory: &Path) -> Result<Tokenizer> {
        let json = Json::parse(&read_text(&directory.join("tokenizer.json"))?)?;
        let model = json.get("model");
        if json.get("pre_tokenizer").get("type").text() != Some("ByteLevel") {
            return Err("expected a byte-level tokenizer cut by GPT-2's rule".into());
        }
        let letters = letter_bytes();
        let spelled = |text: &str| text.chars().map(|c| letters.get(&c).copied()).collect::<Option<Vec<u8>>>();
        let (mut ids, mut bytes) = (HashMap::new(), HashMap::new());
        for (token, id) in model.get("vocab").fields() {
            let id = id.size().ok_or("expected ids as whole numbers")? as u32;
            if let Some(piece) = spelled(token) {
                ids.insert(piece.clone(), id);
                bytes.insert(id, piece);
            }
        }
        let mut special = HashMap::new();
        for token in json.get("added_tokens").list() {
            let text = token.get("content").text().ok_or("expected content in an added token")?;
            let id = token.get("id").size().ok_or("expected an id in an added token")? as u32;
            special.insert(text.to_string(), id);
            ids.remove(text.as_bytes()); // nobody can type it
            bytes.insert(id, text.as_bytes().to_vec());
        }
        let mut ranks = HashMap::new();
        for (rank, merge) in model.get("merges").list().iter().enumerate() {
            let (a, b) = match merge {
                Json::Text(both) => both.split_once(' ').ok_or("expected two pieces in a merge")?,
                pair => (
                    pair.list()[0].text().ok_or("expected two pieces in a merge")?,
                    pair.list()[1].text().ok_or("expected two pieces in a merge")?,
                ),
            };
            if let (Some(a), Some(b)) = (spelled(a), spelled(b)) {
                ranks.insert((a, b), rank);
            }
        }
        let before = json.get("post_processor").get("single").list().iter();
        let opening = before
            .map_while(|part| part.get("SpecialToken").get("id").text())
            .filter_map(|text| special.get(text).copied())
            .collect();
        Ok(Tokenizer { ids, ranks, bytes, special, opening })
    }

    /// Ids of a text as a person typed it: `<|im_end|>` is ten characters.
    fn encode_plain(&self, text: &str) -> Vec<u32> {
        split_words(text)
            .into_iter()
            .flat_map(|word| encode_word(word.as_bytes(), &self.ranks))
            .filter_map(|piece| self.ids.get(&piece).copied())
            .collect()
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = self.opening.clone();
        ids.extend(self.encode_plain(text));
        ids
    }

    /// The bytes of an id; nothing for a control token.
    fn shown(&self, id: u32) -> Result<&[u8]> {
        if self.special.values().any(|special| *special == id) {
            return Ok(&[]);
        }
        self.bytes.get(&id).map(Vec::as_slice).ok_or(format!("expected an id of a token, got {id}"))
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        let mut bytes = Vec::new();
        for id in ids {
            bytes.extend(self.shown(*id)?);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A conversation as ChatML writes it, up to where the reply begins. Only here do control
    /// tokens come from; one that a person typed is spelled out, byte by byte.
    fn chat(&self, messages: &[(&str, &str)]) -> Result<Vec<u32>> {
        let control = |text: &str| {
            self.special.get(text).copied().ok_or(format!("expected a model that knows {text}"))
        };
        let (start, end) = (control("<|im_start|>")?, control("<|im_end|>")?);
        let mut ids = Vec::new();
        let mut between = String::new(); // what the template wrote since the last control token
        for (role, content) in messages {
            ids.extend(self.encode_plain(&between));
            ids.push(start);
            ids.extend(self.encode_typed(&format!("{role}\n{content}")));
            ids.push(end);
            between = "\n".into();
        }
        ids.extend(self.encode_plain(&between));
        ids.push(start);
        ids.extend(self.encode_plain("assistant\n"));
        Ok(ids)
    }

    fn encode_typed(&self, text: &str) -> Vec<u32> {
        let found = self.special.keys().filter_map(|token| Some((text.find(token)?, token)));
        let Some((at, token)) = found.min() else { return self.encode_plain(text) };
        let mut ids = self.encode_plain(&text[..at]);
        ids.extend(token.bytes().filter_map(|byte| self.ids.get(&vec![byte]).copied()));
        ids.extend(self.encode_typed(&text[at + token.len()..]));
        ids
    }
}

#[derive(PartialEq, Clone, Copy)]
enum Kind {
    Letter,
    Number,
    Blank,
    Other,
}

/// The classes of GPT-2's rule. `is_alphabetic` also holds for some combining vowels, which \p{L}
/// leaves out: the one place where this is not exact.
fn kind(c: char) -> Kind {
    if c.is_whitespace() {
        Kind::Blank
    } else if c.is_numeric() {
        Kind::Number
    } else if c.is_alphabetic() {
        Kind::Letter
    } else {
        Kind::Other
    }
}

/// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
fn split_words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let endings = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
        let length = if let Some(ending) = endings.iter().find(|e| rest.starts_with(**e)) {
            ending.len()
        } else {
            let lead = if first == ' ' { 1 } else { 0 }; // a space goes with the word after it
            match rest[lead..].chars().next().map(kind) {
                Some(wanted) if wanted != Kind::Blank => {
                    lead + run(&rest[lead..], |c| kind(c) == wanted)
                }
                _ => {
                    let blanks = run(rest, |c| kind(c) == Kind::Blank);
                    let last = rest[..blanks].chars().last().map_or(0, char::len_utf8);
                    // The last of several blanks goes with the word after them.
                    if blanks < rest.len() && blanks > last { blanks - last } else { blanks }
                }
            }
        };
        words.push(&rest[..length]);
        rest = &rest[length..];
    }
    words
}

fn run(text: &str, same: impl Fn(char) -> bool) -> usize {
    text.find(|c| !same(c)).unwrap_or(text.len())
}

type Piece = Vec<u8>;

fn encode_word(word: &[u8], ranks: &HashMap<(Piece, Piece), usize>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = word.iter().map(|&b| vec![b]).collect();
    loop {
        let best = (1..pieces.len())
            .filter_map(|i| {
                let pair = (pieces[i - 1].clone(), pieces[i].clone());
                ranks.get(&pair).map(|&rank| (rank, i))
            })
            .min();
        let Some((_, i)) = best else { return pieces };
        let right = pieces.remove(i);
        pieces[i - 1].extend(right);
    }
}

/// Whole characters as they become whole; what is left waits for its other bytes.
fn push(waiting: &mut Vec<u8>, token: &[u8]) -> String {
    waiting.extend_from_slice(token);
    let mut text = String::new();
    loop {
        let error = match std::str::from_utf8(waiting) {
            Ok(whole) => {
                text.push_str(whole);
                waiting.clear();
                return text;
            }
            Err(error) => error,
        };
        let good: Vec<u8> = waiting.drain(..error.valid_up_to()).collect();
        text.push_str(std::str::from_utf8(&good).unwrap());
        match error.error_len() {
            None => return text, // may still become a character
            Some(n) => {
                waiting.drain(..n);
                text.push('\u{FFFD}');
            }
        }
    }
}

// ---- Products: chapter 3 --------------------------------------------------------------------

/// Sixteen sums at once, so that no addition waits for the one before it.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (xs, ys) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in xs.zip(ys) {
        for i in 0..16 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f32>() + rest
}

// C = beta * C + alpha * A Bᵀ     a: (m, k)   b: (n, k)   c: (m, n)
fn matmul_transb(c: &mut [f32], beta: f32, a: &[f32], b: &[f32], alpha: f32,
                 m: usize, n: usize, k: usize) {
    assert!(a.len() == m * k && b.len() == n * k && c.len() == m * n);
    for j in 0..n {
        let other = &b[j * k..(j + 1) * k]; // read once, met by every row of a
        for i in 0..m {
            let out = &mut c[i * n + j];
            let old = if beta == 0.0 { 0.0 } else { beta * *out };
            *out = alpha * dot(&a[i * k..(i + 1) * k], other) + old;
        }
    }
}

/// A linear layer: weight (n_out, n_in), and a bias where the checkpoint has one.
struct Linear {
    weight: Vec<f32>,
    bias: Vec<f32>, // empty: none
    n_in: usize,
    n_out: usize,
}

impl Linear {
    fn load(file: &Checkpoint, name: &str, n_out: usize, n_in: usize, bias: bool) -> Result<Linear> {
        let weight = file.shaped(&format!("{name}.weight"), &[n_out, n_in])?;
        let bias = if bias { file.shaped(&format!("{name}.bias"), &[n_out])? } else { Vec::new() };
        Ok(Linear { weight, bias, n_in, n_out })
    }

    /// y = beta * y + x Wᵀ + b
    fn write(&self, y: &mut [f32], beta: f32, x: &[f32]) {
        let seq = x.len() / self.n_in;
        matmul_transb(y, beta, x, &self.weight, 1.0, seq, self.n_out, self.n_in);
        if !self.bias.is_empty() {
            for row in y.chunks_exact_mut(self.n_out) {
                add_in_place(row, &self.bias);
            }
        }
    }

    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len() / self.n_in * self.n_out];
        self.write(&mut y, 0.0, x);
        y
    }
}

fn add_in_place(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

// ---- The config: a field is read, has a default, or is refused ------------------------------

struct Config {
    vocab: usize,
    hidden: usize,
    inter: usize,
    layers: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    max_seq: usize,
    eps: f32,
    theta: f64,
    scaling: Json, // null, or the fields of a "linear" or "llama3" scaling
    tied: bool,
    attention_bias: bool,
    mlp_bias: bool,
}

/// Fields with one value that this engine computes. A missing field has it.
const REFUSED_UNLESS: [(&str, &[&str]); 6] = [
    ("hidden_act", &["\"silu\""]),
    ("sliding_window", &["null"]),
    ("pretraining_tp", &["1", "null"]),
    ("quantization_config", &["null"]),
    ("partial_rotary_factor", &["1", "null"]),
    ("is_encoder_decoder", &["false", "null"]),
];

impl Config {
    fn read(json: &Json) -> Result<Config> {
        for (name, allowed) in REFUSED_UNLESS {
            let value = match json.get(name) {
                Json::Text(text) => quoted(text),
                Json::Number(number) => number.to_string(),
                Json::Bool(flag) => flag.to_string(),
                Json::Null => continue,
                _ => "something else".into(),
            };
            if !allowed.contains(&value.as_str()) {
                return Err(format!("expected {name} {}, got {value}", allowed[0]));
            }
        }
        if !matches!(json.get("model_type").text(), Some("llama" | "mistral")) {
            return Err("expected model_type llama or mistral".into());
        }
        let size = |name: &str| {
            json.get(name).size().filter(|n| *n > 0).ok_or(format!("expected {name}"))
        };
        let flag = |name: &str| json.get(name) == &Json::Bool(true);
        let (hidden, n_heads) = (size("hidden_size")?, size("num_attention_heads")?);
        let rope = [json.get("rope_parameters"), json.get("rope_scaling")]; // new spelling, old one
        let nested_theta = rope.iter().find_map(|r| r.get("rope_theta").number());
        let scaling = rope.into_iter().find(|r| kind_of_scaling(r) != "default").unwrap_or(&NULL);
        let config = Config {
            //                field                       what a missing one means
            vocab: size("vocab_size")?,                    // refused
            hidden,                                        // refused
            inter: size("intermediate_size")?,             // refused
            layers: size("num_hidden_layers")?,            // refused
            n_heads,                                       // refused
            n_kv_heads: size("num_key_value_heads").unwrap_or(n_heads),
            head_dim: size("head_dim").unwrap_or(hidden / n_heads),
            max_seq: size("max_position_embeddings")?,     // refused
            eps: json.get("rms_norm_eps").number().ok_or("expected rms_norm_eps")? as f32,
            theta: json.get("rope_theta").number().or(nested_theta).unwrap_or(10000.0),
            scaling: scaling.clone(),                      // none
            tied: flag("tie_word_embeddings"),             // false
            attention_bias: flag("attention_bias"),        // false
            mlp_bias: flag("mlp_bias"),                    // false
        };
        if config.n_heads % config.n_kv_heads != 0 || config.head_dim % 2 != 0 {
            return Err("expected n_heads in whole groups and an even head_dim".into());
        }
        Ok(config)
    }

    fn n_groups(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }
}

/// "default" where nothing is scaled.
fn kind_of_scaling(rope: &Json) -> &str {
    rope.get("rope_type").text().or(rope.get("type").text()).unwrap_or("default")
}

// ---- Scores, mask and softmax, values: chapters 4 to 6 --------------------------------------

// q:      (seq, n_kv_heads * n_groups * head_dim)
// k:      (total_seq, n_kv_heads * head_dim)
// scores: (n_kv_heads, n_groups, seq, total_seq)
#[allow(clippy::too_many_arguments)]
fn qk_scores(scores: &mut [f32], q: &[f32], k: &[f32], n_kv_heads: usize, n_groups: usize,
             seq: usize, total_seq: usize, head_dim: usize) {
    let scale = 1.0 / (head_dim as f32).sqrt();
    for kv in 0..n_kv_heads {
        for g in 0..n_groups {
            let head = kv * n_groups + g;
            for i in 0..seq {
                let qi = i * n_kv_heads * n_groups * head_dim + head * head_dim;
                for j in 0..total_seq {
                    let kj = j * n_kv_heads * head_dim + kv * head_dim;
                    let at = (head * seq + i) * total_seq + j;
                    scores[at] = dot(&q[qi..qi + head_dim], &k[kj..kj + head_dim]) * scale;
                }
            }
        }
    }
}

// y: (n_kv_heads * n_groups, seq, total_seq), scores before and weights after
fn masked_softmax(y: &mut [f32], seq: usize, total_seq: usize) {
    let past = total_seq - seq;
    for (r, row) in y.chunks_exact_mut(total_seq).enumerate() {
        let i = r % seq;
        let (seen, future) = row.split_at_mut(past + i + 1);

        let largest = seen.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
        let mut total = 0.0;
        for x in seen.iter_mut() {
            *x = (*x - largest).exp();
            total += *x;
        }
        for x in seen.iter_mut() { *x /= total; }
        future.fill(0.0);
    }
}

// weights: (n_kv_heads, n_groups, seq, total_seq)
// v:       (total_seq, n_kv_heads * head_dim)
// out:     (seq, n_kv_heads * n_groups * head_dim)
#[allow(clippy::too_many_arguments)]
fn score_v(out: &mut [f32], weights: &[f32], v: &[f32], n_kv_heads: usize, n_groups: usize,
           seq: usize, total_seq: usize, head_dim: usize) {
    out.fill(0.0);
    for kv in 0..n_kv_heads {
        for g in 0..n_groups {
            let head = kv * n_groups + g;
            for i in 0..seq {
                let at = i * n_kv_heads * n_groups * head_dim + head * head_dim;
                let row = &mut out[at..at + head_dim];
                for j in 0..total_seq {
                    let weight = weights[(head * seq + i) * total_seq + j];
                    let vj = (j * n_kv_heads + kv) * head_dim;
                    for (x, value) in row.iter_mut().zip(&v[vj..vj + head_dim]) {
                        *x += weight * value;
                    }
                }
            }
        }
    }
}

// ---- RoPE: chapter 7 ------------------------------------------------------------------------

/// The angle each pair turns per position: computed in float64, rounded once.
fn inverse_frequencies(config: &Config) -> Result<Vec<f32>> {
    let field = |name: &str| {
        config.scaling.get(name).number().ok_or(format!("expected {name} in the RoPE scaling"))
    };
    (0..config.head_dim / 2)
        .map(|j| {
            let turn = config.theta.powf(-2.0 * j as f64 / config.head_dim as f64);
            let scaled = match kind_of_scaling(&config.scaling) {
                "default" => turn,
                "linear" => turn / field("factor")?,
                "llama3" => {
                    // 1 for pairs that turn often within the trained context, 0 for the slow ones.
                    let wavelength = 2.0 * std::f64::consts::PI / turn;
                    let turns = field("original_max_position_embeddings")? / wavelength;
                    let (low, high) = (field("low_freq_factor")?, field("high_freq_factor")?);
                    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    keep * turn + (1.0 - keep) * turn / field("factor")?
                }
                other => return Err(format!("expected rope_type default, linear or llama3, got {other}")),
            };
            Ok(scaled as f32)
        })
        .collect()
}

// x: (seq, n_heads * head_dim), turned where it lies
fn rope(x: &mut [f32], past: usize, n_heads: usize, head_dim: usize, inv_freq: &[f32]) {
    let half = head_dim / 2;
    for (i, row) in x.chunks_exact_mut(n_heads * head_dim).enumerate() {
        for (j, &turn) in inv_freq.iter().enumerate() {
            let (sin, cos) = ((past + i) as f32 * turn).sin_cos();
            for head in row.chunks_exact_mut(head_dim) {
                let (one, two) = (j, j + half);
                let (a, b) = (head[one], head[two]); // both, before either is written
                head[one] = a * cos - b * sin;
                head[two] = b * cos + a * sin;
            }
        }
    }
}

// ---- Norm and gate: chapter 8 ---------------------------------------------------------------

// x, y: (seq, hidden)
fn rms_norm(y: &mut [f32], x: &[f32], weight: &[f32], eps: f32) {
    let hidden = weight.len();
    for (y, x) in y.chunks_exact_mut(hidden).zip(x.chunks_exact(hidden)) {
        let squares: f32 = x.iter().map(|v| v * v).sum();
        let size = (squares / hidden as f32 + eps).sqrt();
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            *y = w * (x / size);
        }
    }
}

fn normed(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    rms_norm(&mut y, x, weight, eps);
    y
}

// gate, up: (seq, inter); the result takes the place of gate
fn swiglu(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + (-*g).exp()) * u;
    }
}

// ---- The cache: chapter 10 ------------------------------------------------------------------

/// Per layer, rows of keys (after RoPE) and values by position. The first `len` of them count.
struct KvCache {
    keys: Vec<Vec<f32>>, // (rows, n_kv_heads * head_dim)
    values: Vec<Vec<f32>>,
    len: usize,
    width: usize,
}

impl KvCache {
    fn new(config: &Config) -> KvCache {
        let empty = vec![Vec::new(); config.layers];
        KvCache { keys: empty.clone(), values: empty, len: 0, width: config.n_kv_heads * config.head_dim }
    }

    /// Write new rows at row `len`, over whatever lies there; returns all rows, past and new.
    fn append(&mut self, layer: usize, k: &[f32], v: &[f32]) -> (&[f32], &[f32]) {
        for (rows, new) in [(&mut self.keys[layer], k), (&mut self.values[layer], v)] {
            rows.truncate(self.len * self.width); // what a longer text left behind
            rows.extend_from_slice(new);
        }
        (&self.keys[layer], &self.values[layer])
    }

    /// Make `seq` new rows count: once a pass, after the last layer.
    fn advance(&mut self, seq: usize) {
        self.len += seq;
    }

    /// Forget every position from `len` on.
    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

// ---- The whole model: chapter 9 -------------------------------------------------------------

struct Layer {
    input_layernorm: Vec<f32>,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    post_attention_layernorm: Vec<f32>,
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

struct Llama {
    config: Config,
    embed_tokens: Vec<f32>, // (vocab, hidden)
    layers: Vec<Layer>,
    norm: Vec<f32>,
    lm_head: Option<Vec<f32>>, // none: the embedding scores as well
    inv_freq: Vec<f32>,
}

impl Llama {
    fn load(directory: &Path, file: &Checkpoint) -> Result<Llama> {
        let c = Config::read(&Json::parse(&read_text(&directory.join("config.json"))?)?)?;
        let (q_width, kv_width) = (c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim);
        let (hidden, inter, attention, mlp) = (c.hidden, c.inter, c.attention_bias, c.mlp_bias);
        let mut layers = Vec::new();
        for i in 0..c.layers {
            let at = |name: &str| format!("model.layers.{i}.{name}");
            let norm = |name: &str| file.shaped(&at(&format!("{name}.weight")), &[hidden]);
            let linear = |name: &str, n_out, n_in, bias| Linear::load(file, &at(name), n_out, n_in, bias);
            layers.push(Layer {
                input_layernorm: norm("input_layernorm")?,
                q_proj: linear("self_attn.q_proj", q_width, hidden, attention)?,
                k_proj: linear("self_attn.k_proj", kv_width, hidden, attention)?,
                v_proj: linear("self_attn.v_proj", kv_width, hidden, attention)?,
                o_proj: linear("self_attn.o_proj", hidden, q_width, attention)?,
                post_attention_layernorm: norm("post_attention_layernorm")?,
                gate_proj: linear("mlp.gate_proj", inter, hidden, mlp)?,
                up_proj: linear("mlp.up_proj", inter, hidden, mlp)?,
                down_proj: linear("mlp.down_proj", hidden, inter, mlp)?,
            });
        }
        let table = |name: &str| file.shaped(name, &[c.vocab, hidden]);
        // A tied table may be stored under either name.
        let (embed_tokens, lm_head) = if c.tied {
            (table("model.embed_tokens.weight").or_else(|_| table("lm_head.weight"))?, None)
        } else {
            (table("model.embed_tokens.weight")?, Some(table("lm_head.weight")?))
        };
        let norm = file.shaped("model.norm.weight", &[hidden])?;
        let inv_freq = inverse_frequencies(&c)?;
        Ok(Llama { config: c, embed_tokens, layers, norm, lm_head, inv_freq })
    }

    /// Logits after the last id. The ids continue what the cache holds, and join it.
    fn forward(&self, ids: &[usize], cache: &mut KvCache) -> Vec<f32> {
        let (c, past, seq) = (&self.config, cache.len, ids.len());
        let (n_kv_heads, n_groups, head_dim) = (c.n_kv_heads, c.n_groups(), c.head_dim);
        let total_seq = past + seq;
        let mut x = Vec::new(); // (seq, hidden), the residual stream
        for id in ids {
            x.extend_from_slice(&self.embed_tokens[id * c.hidden..(id + 1) * c.hidden]);
        }
        let mut scores = vec![0.0; c.n_heads * seq * total_seq];
        let mut mixed = vec![0.0; seq * c.n_heads * head_dim];
        for (l, w) in self.layers.iter().enumerate() {
            let h = normed(&x, &w.input_layernorm, c.eps);
            let (mut q, mut k, v) = (w.q_proj.apply(&h), w.k_proj.apply(&h), w.v_proj.apply(&h));
            rope(&mut q, past, c.n_heads, head_dim, &self.inv_freq);
            rope(&mut k, past, n_kv_heads, head_dim, &self.inv_freq); // never v
            let (keys, values) = cache.append(l, &k, &v);
            qk_scores(&mut scores, &q, keys, n_kv_heads, n_groups, seq, total_seq, head_dim);
            masked_softmax(&mut scores, seq, total_seq);
            score_v(&mut mixed, &scores, values, n_kv_heads, n_groups, seq, total_seq, head_dim);
            w.o_proj.write(&mut x, 1.0, &mixed); // beta = 1: the residual

            let h = normed(&x, &w.post_attention_layernorm, c.eps);
            let (mut gate, up) = (w.gate_proj.apply(&h), w.up_proj.apply(&h));
            swiglu(&mut gate, &up);
            w.down_proj.write(&mut x, 1.0, &gate);
        }
        cache.advance(seq); // once, after the last layer
        let last = &x[(seq - 1) * c.hidden..];
        let last = normed(last, &self.norm, c.eps);
        let head = self.lm_head.as_ref().unwrap_or(&self.embed_tokens);
        let mut logits = vec![0.0; c.vocab];
        matmul_transb(&mut logits, 0.0, &last, head, 1.0, 1, c.vocab, c.hidden);
        logits
    }
}

// ---- Sampling: chapter 11 -------------------------------------------------------------------

/// What a draw is made from: temperature, top-k, top-p, min-p. 0 for every token that was cut.
fn probabilities(logits: &[f32], temperature: f32, top_k: usize, top_p: f32, min_p: f32) -> Vec<f32> {
    // `+ 0.0` makes 0 of -0, which total_cmp would put below it.
    let mut order: Vec<(usize, f32)> = logits.iter().map(|x| x + 0.0).enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut result = vec![0.0; logits.len()];
    let (likeliest, largest) = order[0];
    if temperature == 0.0 {
        result[likeliest] = 1.0;
        return result;
    }
    if top_k > 0 { order.truncate(top_k); }
    for (_, x) in &mut order { *x = ((*x - largest) / temperature).exp(); }
    let sum: f32 = order.iter().map(|item| item.1).sum();
    let (mut kept, mut reached) = (0, 0.0);
    for (_, share) in &order {
        kept += 1;
        reached += share / sum;
        if top_p < 1.0 && reached >= top_p { break; } // the crossing token stays
    }
    order.truncate(kept);
    order.retain(|item| item.1 >= min_p); // the likeliest has exp(0) = 1
    let total: f32 = order.iter().map(|item| item.1).sum();
    for (id, share) in order { result[id] = share / total; }
    result
}

// ---- The engine -----------------------------------------------------------------------------

const NAME: &str = "llama.rs";
const OPS: &[&str] =
    &["tensor", "forward", "encode", "decode", "stream", "probabilities", "chat"];

struct Engine {
    file: Checkpoint,
    model: Llama,
    cache: KvCache,
    tokenizer: Result<Tokenizer>,
}

impl Engine {
    fn load(directory: &Path) -> Result<Engine> {
        let file = Checkpoint::open(directory)?;
        let model = Llama::load(directory, &file)?;
        let cache = KvCache::new(&model.config);
        // A model without a tokenizer of this kind still answers forward.
        Ok(Engine { file, cache, model, tokenizer: Tokenizer::load(directory) })
    }

    fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        self.file.tensor(name)
    }

    fn forward(&mut self, ids: &[u32], past: usize) -> Result<Vec<f32>> {
        let config = &self.model.config;
        let ids: Vec<usize> = ids.iter().map(|id| *id as usize).collect();
        if ids.is_empty() || ids.iter().any(|id| *id >= config.vocab) {
            return Err(format!("expected ids from 0 to {}", config.vocab - 1));
        }
        if past > self.cache.len || past + ids.len() > config.max_seq {
            return Err(format!("expected a past of at most {} and {} positions in all",
                               self.cache.len, config.max_seq));
        }
        self.cache.truncate(past);
        Ok(self.model.forward(&ids, &mut self.cache))
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer()?.encode(text))
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer()?.decode(ids)
    }

    fn stream(&self, ids: &[u32]) -> Result<Vec<String>> {
        let (tokenizer, mut waiting, mut pieces) = (self.tokenizer()?, Vec::new(), Vec::new());
        for id in ids {
            pieces.push(push(&mut waiting, tokenizer.shown(*id)?));
        }
        pieces.push(String::from_utf8_lossy(&waiting).into_owned()); // what never became whole
        Ok(pieces)
    }

    fn probabilities(&self, logits: &[f32], temperature: f32, top_k: usize, top_p: f32)
        -> Result<Vec<f32>> {
        Ok(probabilities(logits, temperature, top_k, top_p, 0.0))
    }

    fn chat(&self, messages: &[(&str, &str)]) -> Result<Vec<u32>> {
        self.tokenizer()?.chat(messages)
    }

    fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().map_err(Clone::clone)
    }
}

// ---- Protocol 1: an answer for every line, whatever happens ---------------------------------

fn answer(engine: &mut Engine, line: &str) -> Result<String> {
    let request = Json::parse(line)?;
    let text = |name: &str| request.get(name).text().ok_or(format!("expected {name} as text"));
    let number = |name: &str, missing| request.get(name).number().unwrap_or(missing) as f32;
    match request.get("op").text().unwrap_or("") {
        "hello" => {
            let ops: Vec<String> = OPS.iter().map(|op: &&str| quoted(op)).collect();
            let (name, ops) = (quoted(NAME), listed(&ops));
            Ok(format!("{{\"name\":{name},\"protocol\":1,\"ops\":{ops}}}"))
        }
        "tensor" => {
            let (shape, values) = engine.tensor(text("name")?)?;
            Ok(format!("{{\"shape\":{},\"values\":{}}}", listed(&shape), listed(&values)))
        }
        "forward" => {
            let past = request.get("past").size().unwrap_or(0);
            let logits = engine.forward(&ids_of(&request)?, past)?;
            if logits.iter().any(|x| !x.is_finite()) {
                return Err("logits are not finite".into());
            }
            Ok(format!("{{\"logits\":{}}}", listed(&logits)))
        }
        "encode" => Ok(format!("{{\"ids\":{}}}", listed(&engine.encode(text("text")?)?))),
        "decode" => {
            let text = engine.decode(&ids_of(&request)?)?;
            Ok(format!("{{\"text\":{}}}", quoted(&text)))
        }
        "stream" => {
            let pieces = engine.stream(&ids_of(&request)?)?;
            let pieces: Vec<String> = pieces.iter().map(|piece| quoted(piece)).collect();
            Ok(format!("{{\"pieces\":{}}}", listed(&pieces)))
        }
        "probabilities" => {
            let logits: Vec<f32> = request.get("logits").list().iter()
                .map(|x| x.number().map_or(f32::NAN, |x| x as f32)).collect();
            if logits.is_empty() || logits.iter().any(|x| !x.is_finite()) {
                return Err("expected finite logits".into());
            }
            let top_k = request.get("top_k").size().unwrap_or(0);
            let (temperature, top_p) = (number("temperature", 1.0), number("top_p", 1.0));
            let p = engine.probabilities(&logits, temperature, top_k, top_p)?;
            Ok(format!("{{\"probabilities\":{}}}", listed(&p)))
        }
        "chat" => {
            let messages: Option<Vec<(&str, &str)>> = request.get("messages").list().iter()
                .map(|m| Some((m.get("role").text()?, m.get("content").text()?))).collect();
            let messages = messages.ok_or("expected a role and content in every message")?;
            Ok(format!("{{\"ids\":{}}}", listed(&engine.chat(&messages)?)))
        }
        other => Err(format!("expected one of {OPS:?}, got {other:?}")),
    }
}

fn ids_of(request: &Json) -> Result<Vec<u32>> {
    let ids = request.get("ids").list().iter().map(|id| id.size().map(|id| id as u32));
    ids.collect::<Option<_>>().ok_or("expected ids as whole numbers".into())
}

fn main() {
    let Some(directory) = std::env::args().nth(1) else {
        eprintln!("expected the directory of a model");
        std::process::exit(2);
    };
    let mut engine = Engine::load(Path::new(&directory)).unwrap_or_else(|problem| {
        eprintln!("{problem}"); // standard output is for answers alone
        std::process::exit(1);
    });
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let answer = answer(&mut engine, &line)
            .unwrap_or_else(|problem| format!("{{\"error\":{}}}", quoted(&problem)));
        if writeln!(out, "{answer}").and_then(|()| out.flush()).is_err() {
            break; // nobody reads any more
        }
    }
}
