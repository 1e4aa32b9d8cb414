// chapter scores

fn main() {
    let s = whole(); // n_kv_heads, n_groups, seq, total_seq, head_dim
    let (q, k) = (line(), line());
    let mut scores = vec![f32::NAN; s[0] * s[1] * s[2] * s[3]];
    qk_scores(&mut scores, &q, &k, s[0], s[1], s[2], s[3], s[4]);
    show(&scores);
}
