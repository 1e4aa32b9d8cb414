use std::collections::HashMap;

// chapter tokenizer

fn bytes() -> Vec<u8> { whole().into_iter().map(|byte| byte as u8).collect() }

fn main() {
    let sizes = whole(); // merges, words, tokens
    let mut ranks = HashMap::new();
    for rank in 0..sizes[0] { ranks.insert((bytes(), bytes()), rank); }
    for _ in 0..sizes[1] {
        let pieces = encode_word(&bytes(), &ranks);
        show(&pieces.iter().map(Vec::len).collect::<Vec<_>>());
    }
    let mut waiting = Vec::new();
    for _ in 0..sizes[2] { show(push(&mut waiting, &bytes()).as_bytes()); }
}
