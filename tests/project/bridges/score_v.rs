// chapter score_v

fn main() {
    let s = whole(); // n_kv_heads, n_groups, seq, total_seq, head_dim
    let (weights, v) = (line(), line());
    let mut out = vec![f32::NAN; s[2] * s[0] * s[1] * s[4]];
    score_v(&mut out, &weights, &v, s[0], s[1], s[2], s[3], s[4]);
    show(&out);
}
