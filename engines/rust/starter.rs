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

// from llama.rs: Protocol 1

// from llama.rs: JSON
