//! An engine to be written: the protocol is here, the stages are yours (edition 2021).
//!
//!     rustc --edition 2021 -O engine.rs -o engine
//!     llama-edu verify --program ./engine
//!
//! Name an op in OPS once it is written; until then the kit does not ask for it. The stages are the
//! book's chapters: bytes (op `tensor`), forward, cache, tokens (`encode`, `decode`), sampling
//! (`probabilities`).

use std::fmt::Display;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

type Result<T> = std::result::Result<T, String>;

/// The ops that are written: "tensor", "forward", "encode", "decode", "probabilities".
const OPS: [&str; 0] = [];

struct Engine {
    directory: PathBuf,
    // Stage bytes, chapter 1: the tensors of model.safetensors.
    // Stage forward, chapters 2 to 9: config.json and the weights.
    // Stage cache, chapter 10: keys and values per layer, and how many positions count.
}

impl Engine {
    /// Read the model. An error ends the program, and its text is what the report shows.
    fn load(directory: PathBuf) -> Result<Engine> {
        if !directory.join("config.json").is_file() {
            return Err(format!("expected a config.json in {}", directory.display()));
        }
        Ok(Engine { directory })
    }

    /// Chapter 1: the shape of a tensor, and its numbers as float32, row after row.
    fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        Err(format!("not written yet: {name} of {}", self.directory.display()))
    }

    /// Chapters 2 to 10: keep the first `past` cached positions, feed the ids, and give the logits
    /// after the last one.
    fn forward(&mut self, _ids: &[usize], _past: usize) -> Result<Vec<f32>> {
        Err("not written yet".into())
    }

    /// Chapter 3: text to ids.
    fn encode(&self, _text: &str) -> Result<Vec<usize>> {
        Err("not written yet".into())
    }

    /// Chapter 3: ids to text; bytes that are no UTF-8 become U+FFFD.
    fn decode(&self, _ids: &[usize]) -> Result<String> {
        Err("not written yet".into())
    }

    /// Chapter 11: temperature (0 is greedy), then top-k (0 is all), then top-p (1 is all).
    fn probabilities(&self, _logits: &[f32], _temperature: f32, _top_k: usize, _top_p: f32)
        -> Result<Vec<f32>> {
        Err("not written yet".into())
    }

    fn answer(&mut self, line: &str) -> Result<String> {
        let request = Json::parse(line)?;
        let sizes = |name: &str| {
            let items = request.get(name).list().iter().map(Json::size);
            items.collect::<Option<Vec<usize>>>().ok_or(format!("expected whole numbers in {name}"))
        };
        match request.get("op").text().unwrap_or("") {
            "hello" => {
                let ops: Vec<String> = OPS.iter().map(|op: &&str| quoted(op)).collect();
                let ops = listed(&ops);
                Ok(format!("{{\"name\":\"my engine\",\"protocol\":1,\"ops\":{ops}}}"))
            }
            "tensor" => {
                let (shape, values) = self.tensor(request.get("name").text().unwrap_or(""))?;
                Ok(format!("{{\"shape\":{},\"values\":{}}}", listed(&shape), listed(&values)))
            }
            "forward" => {
                let past = request.get("past").size().unwrap_or(0);
                let logits = self.forward(&sizes("ids")?, past)?;
                if logits.iter().any(|x| !x.is_finite()) {
                    return Err("logits are not finite".into());
                }
                Ok(format!("{{\"logits\":{}}}", listed(&logits)))
            }
            "encode" => {
                let ids = self.encode(request.get("text").text().unwrap_or(""))?;
                Ok(format!("{{\"ids\":{}}}", listed(&ids)))
            }
            "decode" => Ok(format!("{{\"text\":{}}}", quoted(&self.decode(&sizes("ids")?)?))),
            "probabilities" => {
                let numbers = request.get("logits").list().iter().filter_map(Json::number);
                let logits: Vec<f32> = numbers.map(|x| x as f32).collect();
                let number = |name: &str, missing| request.get(name).number().unwrap_or(missing) as f32;
                let top_k = request.get("top_k").size().unwrap_or(0);
                let (temperature, top_p) = (number("temperature", 1.0), number("top_p", 1.0));
                let p = self.probabilities(&logits, temperature, top_k, top_p)?;
                Ok(format!("{{\"probabilities\":{}}}", listed(&p)))
            }
            other => Err(format!("no op called {other:?}")),
        }
    }
}

fn main() {
    let Some(directory) = std::env::args().nth(1) else {
        eprintln!("expected the directory of a model");
        std::process::exit(2);
    };
    let mut engine = Engine::load(PathBuf::from(directory)).unwrap_or_else(|problem| {
        eprintln!("{problem}"); // standard output is for answers alone
        std::process::exit(1);
    });
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let answer = engine.answer(&line)
            .unwrap_or_else(|problem| format!("{{\"error\":{}}}", quoted(&problem)));
        if writeln!(out, "{answer}").and_then(|()| out.flush()).is_err() {
            break;
        }
    }
}

// ---------------------------------------------------------------------------------------------
// JSON: what configs, headers, tokenizers and requests are written in
// ---------------------------------------------------------------------------------------------

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
fn listed<T: Display>(items: &[T]) -> String {
    let texts: Vec<String> = items.iter().map(|item| item.to_string()).collect();
    format!("[{}]", texts.join(","))
}
