//! An engine to be written: the protocol is here, the stages are yours (edition 2021).
//!
//!     rustc --edition 2021 -O engine.rs -o engine
//!     llama-edu verify --program ./engine
//!
//! Name an op in OPS once it is written; until then the kit does not ask for it. The stages are the
//! book's chapters: bytes (op `tensor`), tokens (`encode`, `decode`, `stream`), forward and cache
//! (`forward`), sampling (`probabilities`), chat.

#![allow(dead_code)] // until every stage is there

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, String>;

// ---- The engine -----------------------------------------------------------------------------

const NAME: &str = "my engine";
/// The ops that are written, of the seven below.
const OPS: &[&str] = &[];

struct Engine {
    directory: PathBuf,
    // Chapter 1: the tensors of model.safetensors.
    // Chapters 3 to 9: config.json and the weights.
    // Chapter 10: keys and values of every layer, and how many positions count.
}

impl Engine {
    /// Read the model. An error ends the program, and its text is what the report shows.
    fn load(directory: &Path) -> Result<Engine> {
        if !directory.join("config.json").is_file() {
            return Err(format!("expected a config.json in {}", directory.display()));
        }
        Ok(Engine { directory: directory.into() })
    }

    /// Chapter 1: the shape of a tensor, and its numbers as float32, row after row.
    fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        Err(format!("not written yet: {name} of {}", self.directory.display()))
    }

    /// Chapters 3 to 10: keep the first `past` cached positions, feed the ids, and give the logits
    /// after the last one.
    fn forward(&mut self, _ids: &[u32], _past: usize) -> Result<Vec<f32>> {
        Err("not written yet".into())
    }

    /// Chapter 2: text to ids.
    fn encode(&self, _text: &str) -> Result<Vec<u32>> {
        Err("not written yet".into())
    }

    /// Chapter 2: ids to text; bytes that are no UTF-8 become U+FFFD.
    fn decode(&self, _ids: &[u32]) -> Result<String> {
        Err("not written yet".into())
    }

    /// Chapter 2: what is shown after each id, whole characters only, and at last what is left.
    fn stream(&self, _ids: &[u32]) -> Result<Vec<String>> {
        Err("not written yet".into())
    }

    /// Chapter 11: temperature (0 is greedy), then top-k (0 is all), then top-p (1 is all).
    fn probabilities(&self, _logits: &[f32], _temperature: f32, _top_k: usize, _top_p: f32)
        -> Result<Vec<f32>> {
        Err("not written yet".into())
    }

    /// Chapter 13: roles and contents to ids, up to where the reply begins.
    fn chat(&self, _messages: &[(&str, &str)]) -> Result<Vec<u32>> {
        Err("not written yet".into())
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
