// The chapters' weights from those that were read: the way from `engines/rust/llama.rs` to the
// engine that the listings of model and generation make. Put behind that file, inside a module.
fn collected(model: &Llama) -> super::Llama {
    let c = &model.config;
    let tensor = |shape: &[usize], data: &[f32]| {
        super::Tensor { shape: shape.to_vec(), data: data.to_vec() }
    };
    let gain = |data: &[f32]| tensor(&[data.len()], data);
    let linear = |w: &Linear| tensor(&[w.n_out, w.n_in], &w.weight);
    let layer = |w: &Layer| super::Layer {
        input_layernorm: gain(&w.input_layernorm),
        q: linear(&w.q_proj),
        k: linear(&w.k_proj),
        v: linear(&w.v_proj),
        o: linear(&w.o_proj),
        post_attention_layernorm: gain(&w.post_attention_layernorm),
        gate: linear(&w.gate_proj),
        up: linear(&w.up_proj),
        down: linear(&w.down_proj),
    };
    super::Llama {
        embed_tokens: tensor(&[c.vocab, c.hidden], &model.embed_tokens),
        layers: model.layers.iter().map(layer).collect(),
        norm: gain(&model.norm),
        inv_freq: model.inv_freq.clone(),
        eps: c.eps,
        n_kv_heads: c.n_kv_heads,
        head_dim: c.head_dim,
        max_seq: c.max_seq,
        eos: 0,
    }
}
