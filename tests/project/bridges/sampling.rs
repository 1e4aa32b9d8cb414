// chapter sampling

fn main() {
    let logits = line();
    let (settings, draws) = (line(), whole()); // temperature, top_k, top_p, min_p; how many draws
    let top_k = settings[1] as usize;
    let s = Sampling { temperature: settings[0], top_k, top_p: settings[2], min_p: settings[3] };
    let ids: Vec<u32> = (0..draws[0])
        .map(|i| sample(&logits, &s, (i as f32 + 0.5) / draws[0] as f32).unwrap())
        .collect();
    show(&ids);
    let cold = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 };
    assert_eq!(sample(&[-0.0, 0.0, -1.0], &cold, 0.0), Ok(0));
    assert_eq!(sample(&[-3.0, f32::NEG_INFINITY], &s, 1.0 - f32::EPSILON / 2.0), Ok(0));
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
        assert!(sample(&[1.0, bad, 0.0], &cold, 0.5).is_err());
    }
    assert!(sample(&[], &cold, 0.5).is_err());
}
