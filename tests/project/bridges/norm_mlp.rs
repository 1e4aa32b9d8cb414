// What the listing takes for granted: matrices that know their shape, a layer, and buffers.
struct Matrix { rows: usize, cols: usize, data: Vec<f32> }

struct Layer {
    post_attention_layernorm: Vec<f32>,
    gate_proj: Matrix,
    up_proj: Matrix,
    down_proj: Matrix,
}

struct Work { normed: Vec<f32>, gate: Vec<f32>, up: Vec<f32> }

mod linear {
    // chapter linear

    pub fn product(c: &mut [f32], beta: f32, a: &[f32], b: &[f32], alpha: f32,
                   m: usize, n: usize, k: usize) {
        matmul_transb(c, beta, a, b, alpha, m, n, k);
    }
}

fn matmul_transb(c: &mut [f32], beta: f32, a: &[f32], b: &Matrix, alpha: f32) {
    let m = a.len() / b.cols;
    linear::product(c, beta, a, &b.data, alpha, m, b.rows, b.cols);
}

// chapter norm_mlp

fn main() {
    let sizes = whole();
    let (seq, hidden, inter) = (sizes[0], sizes[1], sizes[2]);
    let eps = line()[0];
    let matrix = |rows, cols| Matrix { rows, cols, data: line() };
    let mut x = line();
    let layer = Layer {
        post_attention_layernorm: line(),
        gate_proj: matrix(inter, hidden),
        up_proj: matrix(inter, hidden),
        down_proj: matrix(hidden, inter),
    };
    // Buffers that were used before.
    let old = |n| vec![f32::NAN; n];
    let mut work =
        Work { normed: old(seq * hidden), gate: old(seq * inter), up: old(seq * inter) };
    mlp(&mut x, &mut work, &layer, eps);
    show(&work.normed);
    show(&work.gate);
    show(&x);
    let mut extreme = vec![-1000.0, 1000.0];
    swiglu(&mut extreme, &[2.0, 2.0]);
    show(&extreme);
}
