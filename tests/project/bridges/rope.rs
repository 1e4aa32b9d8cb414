// chapter rope

fn main() {
    let sizes = whole(); // past, n_heads, head_dim
    let (inv_freq, mut x) = (line(), line());
    rope(&mut x, sizes[0], sizes[1], sizes[2], &inv_freq);
    show(&x);
}
