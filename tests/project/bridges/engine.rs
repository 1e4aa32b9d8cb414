// One small engine from the listings of chapters 9, 10, 13 and 14. What the earlier chapters
// spell out is written here again, short, over tensors that know their shape.
use std::sync::mpsc::{channel, sync_channel, Receiver, Sender, SyncSender, TrySendError};

#[derive(Clone)]
struct Tensor { shape: Vec<usize>, data: Vec<f32> }

impl Tensor {
    fn cols(&self) -> usize { self.shape[self.shape.len() - 1] }
    fn rows(&self) -> std::slice::ChunksExact<'_, f32> { self.data.chunks_exact(self.cols()) }
    fn gather(&self, ids: &[u32]) -> Tensor {
        let rows = ids.iter().flat_map(|&id| self.rows().nth(id as usize).unwrap().to_vec());
        Tensor { shape: vec![ids.len(), self.cols()], data: rows.collect() }
    }
    fn last_row(&self) -> Tensor {
        Tensor { shape: vec![1, self.cols()], data: self.rows().last().unwrap().to_vec() }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 { a.iter().zip(b).map(|(x, y)| x * y).sum() }

fn matmul_t(a: &Tensor, b: &Tensor) -> Tensor {
    let data = a.rows().flat_map(|row| b.rows().map(move |other| dot(row, other))).collect();
    Tensor { shape: vec![a.shape[0], b.shape[0]], data }
}

fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Tensor {
    let mut y = x.clone();
    for row in y.data.chunks_exact_mut(x.cols()) {
        let size = (dot(row, row) / row.len() as f32 + eps).sqrt();
        for (v, w) in row.iter_mut().zip(&weight.data) { *v = w * (*v / size); }
    }
    y
}

fn rope(x: &mut Tensor, past: usize, inv_freq: &[f32]) {
    let (width, half) = (x.cols(), inv_freq.len());
    for (i, row) in x.data.chunks_exact_mut(width).enumerate() {
        for head in row.chunks_exact_mut(2 * half) {
            for j in 0..half {
                let (sin, cos) = ((past + i) as f32 * inv_freq[j]).sin_cos();
                let (a, b) = (head[j], head[j + half]);
                head[j] = a * cos - b * sin;
                head[j + half] = b * cos + a * sin;
            }
        }
    }
}

/// Keys of all positions come as the cache keeps them: (total_seq, n_kv_heads * head_dim).
fn qk_scores(q: &Tensor, keys: &[f32], n_kv_heads: usize, head_dim: usize) -> Tensor {
    let (seq, total_seq) = (q.shape[0], keys.len() / (n_kv_heads * head_dim));
    let n_groups = q.cols() / (n_kv_heads * head_dim);
    let mut data = Vec::new();
    for head in 0..n_kv_heads * n_groups {
        for i in 0..seq {
            for j in 0..total_seq {
                let query = &q.data[i * q.cols() + head * head_dim..][..head_dim];
                let key = &keys[(j * n_kv_heads + head / n_groups) * head_dim..][..head_dim];
                data.push(dot(query, key) / (head_dim as f32).sqrt());
            }
        }
    }
    Tensor { shape: vec![n_kv_heads, n_groups, seq, total_seq], data }
}

fn masked_softmax(mut scores: Tensor, past: usize) -> Tensor {
    let (seq, total_seq) = (scores.shape[2], scores.shape[3]);
    for (r, row) in scores.data.chunks_exact_mut(total_seq).enumerate() {
        let (seen, future) = row.split_at_mut(past + r % seq + 1);
        let largest = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for x in seen.iter_mut() { *x = (*x - largest).exp(); }
        let total: f32 = seen.iter().sum();
        for x in seen { *x /= total; }
        future.fill(0.0);
    }
    scores
}

fn score_v(weights: Tensor, values: &[f32]) -> Tensor {
    let [n_kv_heads, n_groups, seq, total_seq] = weights.shape[..] else { panic!("four axes") };
    let head_dim = values.len() / (total_seq * n_kv_heads);
    let width = n_kv_heads * n_groups * head_dim;
    let mut data = vec![0.0; seq * width];
    for (r, row) in weights.rows().enumerate() {
        let (head, i) = (r / seq, r % seq);
        for (j, share) in row.iter().enumerate() {
            for d in 0..head_dim {
                data[i * width + head * head_dim + d] +=
                    share * values[(j * n_kv_heads + head / n_groups) * head_dim + d];
            }
        }
    }
    Tensor { shape: vec![seq, width], data }
}

fn swiglu(mut gate: Tensor, up: Tensor) -> Tensor {
    for (g, u) in gate.data.iter_mut().zip(&up.data) { *g = *g / (1.0 + (-*g).exp()) * u; }
    gate
}

fn add_in_place(x: &mut Tensor, y: &Tensor) {
    for (x, y) in x.data.iter_mut().zip(&y.data) { *x += y; }
}

/// The lowest id among equals.
fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&x| x == best).unwrap() as u32
}

struct Layer {
    input_layernorm: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    post_attention_layernorm: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
}

struct Llama {
    embed_tokens: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    inv_freq: Vec<f32>,
    eps: f32,
    n_kv_heads: usize,
    head_dim: usize,
    max_seq: usize,
    eos: u32,
}

impl Llama {
    // chapter model

    fn lm_head(&self) -> &Tensor { &self.embed_tokens }
    fn is_eos(&self, id: u32) -> bool { id == self.eos }

    fn new_cache(&self) -> KvCache {
        // What an earlier text left behind.
        let rows = vec![f32::NAN; self.max_seq * self.n_kv_heads * self.head_dim];
        let old = vec![rows; self.layers.len()];
        KvCache { keys: old.clone(), values: old, len: 0 }
    }

    /// Logits after the last token of each chunk, of which none is empty.
    fn forward_chunks(&self, chunks: &[Vec<u32>], caches: Vec<&mut KvCache>) -> Tensor {
        let vocab_size = self.embed_tokens.shape[0];
        let rows = chunks.iter().zip(caches).flat_map(|(ids, cache)| {
            assert!(!ids.is_empty());
            self.forward(ids, cache)
        });
        Tensor { shape: vec![chunks.len(), vocab_size], data: rows.collect() }
    }
}

// chapter generate

struct TurnUsage { reused: usize, computed: usize, dropped: usize }

// chapter chat

type Model = Llama;

/// Pieces are ids here; a real server sends text.
struct Job {
    prompt: Vec<u32>, // what is still to be computed
    newest: u32,
    cache: KvCache,
    piece: Vec<u32>,
    left: usize,
    eos: u32,
    ended: bool,
    tokens: Sender<Vec<u32>>,
}

impl Job {
    fn new(model: &Model, prompt: Vec<u32>, left: usize, tokens: Sender<Vec<u32>>) -> Job {
        let (cache, eos) = (model.new_cache(), model.eos);
        Job { prompt, newest: 0, cache, piece: vec![], left, eos, ended: false, tokens }
    }
    fn next_chunk(&mut self, budget: &mut usize) -> Vec<u32> {
        if self.prompt.is_empty() && self.cache.len > 0 { return vec![self.newest]; }
        let part: Vec<u32> = self.prompt.drain(..(*budget).min(self.prompt.len())).collect();
        *budget -= part.len();
        part
    }
    fn choose(&mut self, logits: &[f32]) {
        if !self.prompt.is_empty() { return; }
        self.newest = argmax(logits);
        self.piece.push(self.newest);
        self.left -= 1;
        self.ended = self.left == 0 || self.newest == self.eos;
    }
    fn take_piece(&mut self) -> Vec<u32> { std::mem::take(&mut self.piece) }
}

fn caches<'a>(fed: &'a mut [&mut Job]) -> Vec<&'a mut KvCache> {
    fed.iter_mut().map(|job| &mut job.cache).collect()
}

// chapter serve

fn read_model() -> Llama {
    // vocabulary, hidden, inter, layers, n_heads, n_kv_heads, head_dim, max_seq, eos
    let s = whole();
    let tensor = |shape: &[usize]| Tensor { shape: shape.to_vec(), data: line() };
    let (hidden, inter, q_width, kv_width) = (s[1], s[2], s[4] * s[6], s[5] * s[6]);
    let (eps, inv_freq) = (line()[0], line());
    let embed_tokens = tensor(&[s[0], hidden]);
    let layer = |_| Layer {
        input_layernorm: tensor(&[hidden]),
        q: tensor(&[q_width, hidden]),
        k: tensor(&[kv_width, hidden]),
        v: tensor(&[kv_width, hidden]),
        o: tensor(&[hidden, q_width]),
        post_attention_layernorm: tensor(&[hidden]),
        gate: tensor(&[inter, hidden]),
        up: tensor(&[inter, hidden]),
        down: tensor(&[hidden, inter]),
    };
    let layers = (0..s[3]).map(layer).collect();
    let norm = tensor(&[hidden]);
    let (n_kv_heads, head_dim, max_seq, eos) = (s[5], s[6], s[7], s[8] as u32);
    Llama { embed_tokens, layers, norm, inv_freq, eps, n_kv_heads, head_dim, max_seq, eos }
}

fn main() {
    let model = read_model();

    // 9: a text in two pieces.
    let mut cache = model.new_cache();
    show(&model.forward(&ids(), &mut cache));
    show(&model.forward(&ids(), &mut cache));

    // 10: some of it taken back, and other tokens in their place.
    cache.truncate(whole()[0]);
    show(&model.forward(&ids(), &mut cache));

    // 10: greedy, to the limit, to the end token, and nothing at all.
    for _ in 0..3 {
        let (prompt, max_new) = (ids(), whole()[0]);
        show(&generate(&model, &prompt, max_new).unwrap());
    }

    assert!(generate(&model, &[1, 2], model.max_seq).is_err());
    test_cache(&model, &[3, 14, 15, 9, 26, 5, 30, 8]);

    // 13: turns of one conversation.
    let mut session = Session { ids: vec![], cache: model.new_cache() };
    for _ in 0..5 {
        let (prompt, max_new) = (ids(), whole()[0]);
        let (ledger, reply) = session.send(&model, prompt, max_new);
        show(&[ledger.reused, ledger.computed, ledger.dropped]);
        show(&reply);
    }

    // 14: several texts, no more than two at once, a reader who leaves, and a queue with an end.
    let (queue, jobs) = sync_channel(4);
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (tokens, reader) = channel();
            let (prompt, max_new) = (ids(), whole()[0]);
            assert_eq!(submit(&queue, Job::new(&model, prompt, max_new, tokens)), 200);
            reader
        })
        .collect();
    let (tokens, reader) = channel();
    let leaves = || Job::new(&model, vec![1, 2], usize::MAX, tokens.clone());
    show(&[submit(&queue, leaves()), submit(&queue, leaves())]);
    drop((queue, reader));
    work(model, jobs, 2);
    for reader in readers {
        show(&reader.try_iter().flatten().collect::<Vec<u32>>());
    }
}
